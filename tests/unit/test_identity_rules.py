"""A share of `make identities`, which asks more implementations about a million values (registries 1.2-1.4)."""

from identities import compare_organisations, compare_with_python, organisation_values, person_values
from varsel.domain.identifiers import valid_organisation_number, valid_person_id

VALUES = 50_000


def test_two_other_implementations_judge_identity_numbers_as_we_do() -> None:
    """python-stdnum and id-validation, each where it knows: `identities` says where that is.

    Neither knows month + 80, or 2032. The check digits of those are judged all the same: they count over the digits as
    they stand, and the rule of 2032 is the tax authority's, over python-stdnum's digits.
    """
    values = list(person_values(VALUES, seed=1))
    judged, differing = compare_with_python(values)
    assert differing.total() == 0, differing
    assert min(judged.values()) > VALUES / 10, judged
    of_2032 = sum(valid_person_id(value) and not valid_person_id(value, old_scheme_only=True) for value in values)
    assert of_2032 > VALUES / 10
    assert VALUES / 4 < sum(map(valid_person_id, values)) < VALUES / 2


def test_another_implementation_judges_organisation_numbers_as_we_do() -> None:
    values = list(organisation_values(VALUES, seed=1))
    judged, differing = compare_organisations(values)
    assert differing.total() == 0
    assert judged.total() > VALUES * 0.9
    assert VALUES / 4 < sum(map(valid_organisation_number, values)) < VALUES / 2
