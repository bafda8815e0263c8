"""The page on which a person teaches their taste: HTML around the same service, with the same tokens and scopes."""
