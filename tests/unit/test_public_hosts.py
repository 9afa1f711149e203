"""A stranger's URL leads to public hosts alone (channels 7.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.providers.public_hosts import PrivateAddress, PublicResolver, is_private_literal, is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "2002:808:808::1", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
    assert not is_private_literal(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.0.1",
            "192.0.0.8",
        ),
        *(
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "fc00::1",
            "fe80::1%eth0",
            "fec0::1",
        ),
        *("ff02::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:0:0:0:0:f5ff:fffe", "[::1]"),
    ],
)
def test_addresses_of_networks_that_are_nobodys_business_are_not_whatever_they_are_wrapped_in(address: str) -> None:
    assert is_private_literal(address)


@given(st.ip_addresses(v=4))
def test_an_address_in_another_is_as_public_as_alone(address: object) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))
    assert is_public(f"64:ff9b::{address}") == is_public(str(address))


def test_a_name_is_left_to_the_resolver() -> None:
    assert not is_private_literal("localhost")


async def test_the_resolver_refuses_a_name_that_leads_to_this_machine() -> None:
    resolver = PublicResolver()
    with pytest.raises(PrivateAddress):
        await resolver.resolve("localhost", 80)
    await resolver.close()
