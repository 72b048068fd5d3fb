"""Storage placement: hybrid storage systems of two to four devices, replayed request by request."""
