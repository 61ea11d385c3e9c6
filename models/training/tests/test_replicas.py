"""Several copies of a network give the gradients of all batches, in their order."""

import unittest

import torch

from training import replicas


def gradient(model, batch):
    model.zero_grad()
    error = (model(batch) - 1).square().mean()
    error.backward()
    return {"batch": float(batch[0, 0]), "weight": float(model.weight[0, 0].detach())}


def descend(count, steps=6):
    """[what each gradient said and was], of a network that takes a step of 1 after each."""
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1, bias=False)
    batches = (torch.full((1, 1), float(number)) for number in range(1, 100))
    told = []
    for values in replicas.gradients(model, batches, count, gradient):
        told.append(values | {"gradient": float(model.weight.grad)})
        with torch.no_grad():
            model.weight += 1
        if len(told) == steps:
            return told


class Replicas(unittest.TestCase):
    def test_batches_come_in_their_order(self):
        for count in (1, 2, 3):
            self.assertEqual([each["batch"] for each in descend(count)], [1, 2, 3, 4, 5, 6])

    def test_each_has_the_gradient_of_its_batch(self):
        for each in descend(2):
            batch, weight = each["batch"], each["weight"]
            self.assertAlmostEqual(each["gradient"], 2 * batch * (batch * weight - 1), places=3)

    def test_weights_are_as_old_as_there_are_other_copies(self):
        for count in (1, 2, 3):
            seen = [each["weight"] for each in descend(count)]
            steps = [round(weight - seen[0]) for weight in seen]
            self.assertEqual(steps, [max(0, number - count + 1) for number in range(6)])


if __name__ == "__main__":
    unittest.main()
