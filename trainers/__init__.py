"""nnU-Net trainers: each says what differs from the stock one."""
