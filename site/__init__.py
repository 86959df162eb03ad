"""The published leaderboard: its templates and renderer stand here."""
