"""Migrations of the database; ``core.store.migrate`` runs them."""
