"""What a workload costs a year: paid by token, on rented GPUs, on servers of one's own. Pure."""
