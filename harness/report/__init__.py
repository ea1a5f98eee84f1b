"""A run's report: one page that opens offline, with the verdict first and the pictures and mails that it rests on."""
