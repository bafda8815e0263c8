"""Language models as rewards."""
