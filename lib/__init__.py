"""Replication suite of Otero, Mateus and Balestriero (2024), arXiv 2410.04289."""
