"""Gradients from several cores, each of which has a copy of the network.

The layers of a small network are too small for two cores to share: two batches at once are 1.4 times as
fast. The price is that a gradient is older than the weights it changes, by as many steps as there are
other copies. X. Lian et al., Asynchronous Parallel Stochastic Gradient for Nonconvex Optimization (NIPS
2015); here they are applied in the order of the batches, so that a run can be repeated, but for the
first steps after a stop: their gradients are new.
"""

import copy
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import torch


def gradients(model, batches, count, gradient):
    """For each batch in turn, puts its gradient into `model`, and yields what `gradient` said of it.

    `gradient(copy, batch)` leaves it in the parameters of a copy. Who iterates changes the weights of
    `model` before it asks for the next.
    """
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        busy = deque()
        for replica in [copy.deepcopy(model) for _ in range(count)]:
            busy.append((replica, pool.submit(gradient, replica, next(batches))))
        while True:
            replica, said = busy.popleft()
            values = said.result()
            for ours, theirs in zip(model.parameters(), replica.parameters()):
                ours.grad = theirs.grad
            yield values
            with torch.no_grad():
                torch._foreach_copy_(list(replica.parameters()), list(model.parameters()))
            busy.append((replica, pool.submit(gradient, replica, next(batches))))
