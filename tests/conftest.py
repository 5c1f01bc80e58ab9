"""Every test runs on one thread: the suite is run in parallel, and threads that wait for each other cost more than they bring."""

import torch

torch.set_num_threads(1)
