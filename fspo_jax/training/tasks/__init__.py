"""What can be trained: a scorer on fixed features, adapters of an encoder, a language model."""
