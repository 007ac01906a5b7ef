"""Networks as a user may write them, `tests.odd_nets:Tokens` in params.yaml: each is odd in what some step needs."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F


class Tokens(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(12, classes)  # defined first, runs last
        self.patch, self.norm = nn.Conv2d(3, 12, 8, 8), nn.LayerNorm(12)
        self.hidden, self.out = nn.Linear(12, 20), nn.Linear(20, 12)

    def forward(self, images):
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        tokens = tokens + self.out(self.hidden(self.norm(tokens)).relu())
        return self.head(tokens.mean(1))


class ClassToken(nn.Module):
    """A learned token stands beside those of the image, as in a transformer."""

    def __init__(self, classes):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 12, 8, 8), nn.Parameter(torch.randn(1, 1, 12))
        self.hidden, self.head = nn.Linear(12, 12), nn.Linear(12, classes)

    def forward(self, images):
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], 1)
        return self.head(self.hidden(tokens.mean(1)).relu())


class Unread(nn.Module):
    """What one of its layers gives is read by nobody."""

    def __init__(self, classes):
        super().__init__()
        self.unread, self.hidden = nn.Linear(3, 4), nn.Linear(3, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        colours = images.mean((2, 3))
        self.unread(colours)
        return self.head(self.hidden(colours).relu())


class Heads(nn.Module):
    """PyTorch's own attention: its weights belong to no layer that runs by itself."""

    def __init__(self, classes):
        super().__init__()
        self.patch, self.attention = nn.Conv2d(3, 12, 8, 8), nn.MultiheadAttention(12, 2, batch_first=True)
        self.head = nn.Linear(12, classes)

    def forward(self, images):
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


def conv(classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, classes, 7), nn.Flatten()
    )


def grouped(classes):
    return nn.Sequential(nn.Conv2d(3, 9, 3, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, classes))


def shared(classes):
    layer = nn.Conv2d(3, 3, 3)
    return nn.Sequential(layer, layer, nn.Flatten(), nn.LazyLinear(classes))


class Recurrent(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.patch, self.memory = nn.Conv2d(3, 12, 8, 8), nn.GRU(12, 12, batch_first=True)
        self.head = nn.Linear(12, classes)

    def forward(self, images):
        return self.head(self.memory(self.patch(images).flatten(2).transpose(1, 2))[0].mean(1))


def frozen(classes):
    below = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).requires_grad_(False)
    return nn.Sequential(below, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))


# What no checkpoint can hold, or no step change.


class Kept(nn.Module):
    """With something beside its layers: by name a buffer, an attribute, or more state."""

    def __init__(self, classes, **attributes):
        super().__init__()
        self.layers = one(classes)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, images):
        return self.layers(images)


class Stateful(Kept):
    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass


class Helped(Kept):
    def forward(self, images):
        answers = super().forward(images)
        return (answers, answers) if self.training else answers


def switched(classes):
    return Kept(classes, switch=nn.Buffer(torch.tensor([True, False])))


def masked(classes):
    return Kept(classes, mask=nn.Buffer(torch.full((2, 2), -torch.inf)))


def specified(classes):
    return Kept(classes, spec={"depth": 1})


def normalised(classes):
    return nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(3 * 32 * 32, classes)))


class Short(Kept):
    def __init__(self, classes):
        super().__init__(classes)
        self.layers.bfloat16()

    def forward(self, images):
        return super().forward(images.bfloat16()).float()


def lazy(classes):
    return nn.Sequential(
        nn.LazyConv2d(8, 3),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.LazyLinear(classes),
    )


class Pooled(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, classes)

    def forward(self, images):
        return self.head(self.layer(images).mean((2, 3)))


class Twice(Pooled):
    def __init__(self, classes):
        super().__init__(classes)
        self.all = nn.ModuleList([self.layer])


class Averaged(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer, self.one, self.two = nn.Conv2d(3, 4, 3), nn.Linear(4, classes), nn.Linear(4, classes)

    def forward(self, images):
        pooled = self.layer(images).mean((2, 3))
        return (self.one(pooled) + self.two(pooled)) / 2


class Branch(Pooled):
    def forward(self, images):
        pooled = self.layer(images).mean((2, 3))
        return self.head(2 * pooled if pooled.mean() > 1 else pooled)


def maps(classes):
    return nn.Conv2d(3, classes, 3)


def reshaped(classes):
    pooled = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
    return nn.Sequential(pooled, nn.Unflatten(1, (classes, 1)), nn.Flatten())


def sure(classes):
    return nn.Sequential(*one(classes), nn.Softmax(1))


def broken(classes):
    raise KeyError("no such thing")


def scripted(classes):
    with warnings.catch_warnings(action="ignore"):  # of its age
        return nn.Sequential(torch.jit.script(nn.Conv2d(3, 8, 3)), *flat(classes)[1:])


def leaves(classes):
    raise SystemExit(3)


def one(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes))


tensor = torch.zeros


# With attention, and with batch norms of all kinds.


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = 4, width // 4, width
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        split = self.qkv(x).unflatten(2, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


class Attending(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.patch, self.attention = nn.Conv2d(3, 24, 8, 8), Attention(24)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, classes)

    def forward(self, images):
        tokens = self.patch(images).flatten(2).transpose(1, 2)
        return self.head((tokens + self.attention(self.norm(tokens))).mean(1))


class Viewed(nn.Module):
    """As tutorials have it: `view` wants maps in the order of memory, and here layers are given theirs by name."""

    def __init__(self, classes):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 7 * 7, classes)

    def forward(self, images):
        maps = F.max_pool2d(self.norm(input=self.first(input=images)).relu(), 2)
        return self.head(input=maps.view(-1, 8 * 7 * 7))


class ViewedAgain(Viewed):
    """Its maps come from a function, which no hook reaches."""

    def forward(self, images):
        maps = F.max_pool2d(F.conv2d(images, self.first.weight, stride=2), 2)
        return self.head(maps.view(-1, 8 * 7 * 7))


class Between(nn.Module):
    """What lies between a convolution and its batch norm is read a second time."""

    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(16, classes)

    def forward(self, images):
        maps = self.body[0](images)
        read = (maps, self.body[2](self.body[1](maps)))
        return self.head(torch.cat([each.mean((2, 3)) for each in read], 1))


class Normed(nn.Module):
    def __init__(self, classes, **options):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.norm1, self.norm2 = nn.BatchNorm2d(8, **options), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        maps = self.norm1(self.first(images)).relu()
        return self.head(self.norm2(self.second(maps)).relu().mean((2, 3)))


class Strict(Normed):
    """Its code wants all channels of the first layer."""

    def forward(self, images):
        maps = self.first(images)
        assert maps.shape[1] == 8
        return self.head(self.second(maps).mean((2, 3)))


class ForAnswers(Normed):
    """Its code refuses to run where a gradient is wanted, in evaluation mode."""

    def forward(self, images):
        assert self.training or not torch.is_grad_enabled()
        return super().forward(images)


class NormAndReLU(nn.BatchNorm2d):
    """As timm's: what follows is inside."""

    def __init__(self, features):
        super().__init__(features)
        self.drop, self.act = nn.Identity(), nn.ReLU()

    def forward(self, maps):
        return self.act(self.drop(super().forward(maps)))


def joined(classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), NormAndReLU(8), nn.Conv2d(8, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def flat(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes))


def without_scale(classes):
    return Normed(classes, affine=False)


def without_statistics(classes):
    return Normed(classes, track_running_stats=False)
