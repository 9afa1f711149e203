"""The identifiers that an installation takes, from its settings (registries 1.5)."""

import re

from varsel.domain.identifiers import Level
from varsel.domain.schemes import CheckDigit, Identifiers, Party, Scheme
from varsel.settings import RegistrySettings


def identifiers_of(settings: RegistrySettings) -> Identifiers:
    schemes = tuple(
        Scheme(scheme.name, Party(scheme.kind), re.compile(scheme.pattern), CheckDigit(scheme.check))
        for scheme in settings.schemes
    )
    return Identifiers(schemes, settings.norwegian_identifiers, Level(settings.validation_level))
