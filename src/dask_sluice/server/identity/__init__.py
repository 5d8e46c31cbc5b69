"""Who is calling: authenticators, sessions of browsers, passwords. What they may do is `policy`'s matter."""
