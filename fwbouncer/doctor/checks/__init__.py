"""Rules from facts to findings, a file for each kind. They read nothing but the facts."""
