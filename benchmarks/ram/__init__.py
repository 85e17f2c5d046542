"""Migrating RAM, beside QEMU."""
