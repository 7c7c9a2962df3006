"""What may be asked for here, by whom, and how much: rules, strikes with decay, appeals, bans, quotas."""
