"""Memory as a plan: what models weigh and passes take, measured once (`table`), and what follows from it (`plan`, `placing`)."""
