"""`./shop`: plays what can happen to an order, shows it, and answers an operator's questions."""
