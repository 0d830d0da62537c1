"""What unvanish costs, measured side by side in one run: `make bench`. Figures are ratios; nothing here is a test."""
