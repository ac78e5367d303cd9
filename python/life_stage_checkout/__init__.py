"""What the checkout needs beside SQL: closed-form algebra, text similarity, the ranker and its judgement."""
