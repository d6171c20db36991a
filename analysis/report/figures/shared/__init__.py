"""What all figures share: no figure is looked for here."""
