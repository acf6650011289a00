"""Replication suite of Otero, Mateus and Balestriero (2024), arXiv 2410.04289."""

import warnings

# Packages import tqdm in a way that warns in notebooks without widgets, where its bars are text.
warnings.filterwarnings("ignore", "IProgress not found")
