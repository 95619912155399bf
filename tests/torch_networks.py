"""Small networks in PyTorch that tests share; `torch` comes as an argument, as it may not be installed."""


def resnet(torch, widths=(64, 128, 256, 512), blocks=2, n_outputs=10, stem="imagenet"):
    """The residual network of He et al. 2016 with basic blocks; by default ResNet-18."""
    nn = torch.nn

    class Basic(nn.Module):
        def __init__(self, fan_in, units, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(fan_in, units, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(units)
            self.conv2 = nn.Conv2d(units, units, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(units)
            same = stride == 1 and fan_in == units
            projection = nn.Sequential(nn.Conv2d(fan_in, units, 1, stride, bias=False), nn.BatchNorm2d(units))
            self.downsample = nn.Identity() if same else projection

        def forward(self, x):
            h = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(h)) + self.downsample(x))

    first = (
        [nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        if stem == "imagenet"
        else [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    )
    stages, fan_in = [], widths[0]
    for i, units in enumerate(widths):
        for j in range(blocks):
            stages.append(Basic(fan_in, units, 2 if i and j == 0 else 1))
            fan_in = units
    return nn.Sequential(*first, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, n_outputs))


def vision_transformer(torch, width=24, n_outputs=5):
    """Patches of 4 x 4, a block of PyTorch's own, the mean over patches; for images 3 x 8 x 8."""
    nn = torch.nn

    class Vision(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, width, 4, 4)
            self.place = nn.Parameter(0.1 * torch.randn(1, 4, width))
            self.block = nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            self.head = nn.Linear(width, n_outputs)

        def forward(self, x):
            return self.head(self.block(self.patches(x).flatten(2).mT + self.place).mean(1))

    return Vision()


def causal_transformer(torch, n_tokens=11, width=24, length=6):
    """Next tokens: (T, length) whole numbers to logits (T, n_tokens, length), as the cross-entropy takes them."""
    nn = torch.nn

    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(n_tokens, width)
            self.place = nn.Parameter(0.1 * torch.randn(length, width))
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            self.head = nn.Linear(width, n_tokens)

        def forward(self, x):
            h = self.tokens(x) + self.place
            q, k, v = (t.unflatten(-1, (3, -1)).transpose(1, 2) for t in self.qkv(self.norm1(h)).chunk(3, -1))
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + self.merge(mixed.transpose(1, 2).flatten(2))
            h = h + self.mlp(self.norm2(h))
            return self.head(h).mT

    return Causal()
