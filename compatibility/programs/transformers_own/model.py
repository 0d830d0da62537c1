"""A PreTrainedModel of its own: the digits' classifier in the manner of Transformers."""

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class DigitsConfig(PreTrainedConfig):
    model_type = "digits"

    def __init__(self, width=64, depth=3, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.depth = depth


class DigitsModel(PreTrainedModel):
    config_class = DigitsConfig

    def __init__(self, config):
        super().__init__(config)
        layers = [nn.Linear(64, config.width), nn.ReLU()]
        for _ in range(config.depth - 1):
            layers += [nn.Linear(config.width, config.width), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.classifier = nn.Linear(config.width, 10)
        self.loss_function_ = nn.CrossEntropyLoss()
        self.post_init()

    def forward(self, pixels, labels=None, **kwargs):
        logits = self.classifier(self.encoder(pixels))
        loss = None if labels is None else self.loss_function_(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
