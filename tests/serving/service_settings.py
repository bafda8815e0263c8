"""Tokens and settings of the service that the tests start."""

from fspo_jax.serving.service import Settings
from fspo_jax.serving.tokens import Tokens

TOKENS = {
    "token-of-ana-0000": {"user": "ana"},
    "token-of-bo-00000": {"user": "bo"},
    "token-of-shop-000": {"application": "shop"},
    "token-that-ranks-": {"application": "ranker", "scopes": ["rank"]},
    "token-that-reads-": {"application": "reader", "scopes": ["read"]},
}
SETTINGS = Settings("tiny", Tokens(TOKENS))
