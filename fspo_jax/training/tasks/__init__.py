"""What is trained: a head, adapters of an encoder, a language model."""
