"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.optim.optimizer import Optimizer


class SGD(Optimizer):
    """``torch.optim.SGD``, which DeiT uses to transfer to CIFAR and Cars::

        g += weight_decay * w
        m  = momentum * m + g
        w -= lr * m                        (nesterov: g + momentum * m)

    The weight decay is L2 regularisation, as in the published recipes. The other optimizers
    decouple the weight decay.
    """

    slots = ("m",)

    def _update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        decay: float,
        constants: dict[str, tf.Tensor],
        *slots: tf.Variable,
    ) -> None:
        (m,) = slots
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=m.handle,
            lr=rate,
            grad=gradient + decay * variable if decay else gradient,
            momentum=self._config.momentum,
            use_nesterov=self._config.nesterov,
        )
