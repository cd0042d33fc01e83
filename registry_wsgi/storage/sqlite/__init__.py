"""The index in SQLite: `database` moves transactions, the other modules say what is in them."""
