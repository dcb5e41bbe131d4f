"""Pictures of one's own are read as the data's images are. Oracle: images of the data, written to files."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bioplausible import DigitsDataModule, ImageDataModule, UserError
from bioplausible.data.class_names import class_names, name_of
from bioplausible.data.pictures import look_inverted, read_pictures

HALF_LEVEL = 0.5 / 255 + 1e-6
"""How far a number in [0, 1] may be from that of its level of 0 … 255."""


class Coloured(ImageDataModule):
    """Random pictures of 6 × 9 pixels in colours."""

    image_shape = (3, 6, 9)
    default_mean: ClassVar[list[float] | None] = [0.1, 0.5, 0.9]
    default_std: ClassVar[list[float] | None] = [0.5, 0.25, 2.0]

    def load(self, train):
        return torch.rand(5, 3, 6, 9, generator=torch.Generator().manual_seed(0)), torch.arange(5)


def write(images, name="picture{}.png") -> list[str]:
    """Writes images (n × channels × height × width) in [0, 1] to files of 256 levels, and returns their names."""
    files = [name.format(i) for i in range(len(images))]
    for file, image in zip(files, images, strict=True):
        levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(file)
    return files


@pytest.mark.parametrize("border", [0, 2])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("cls", [DigitsDataModule, Coloured])
def test_the_data_s_own_images_come_back_as_the_network_gets_them(cls, border, normalised):
    channels = cls.image_shape[0]
    given = {"mean": [0.2, 0.3, 0.4][:channels], "std": [0.5, 0.6, 0.7][:channels]} if normalised else {}
    data = cls(border=border, **given)
    data.setup("test")
    expected, _ = next(iter(data.test_dataloader()))
    found = data.pictures(write(data.load(False)[0]))
    assert found.shape[1:] == data.image_shape
    assert found.dtype == torch.float32
    std = torch.tensor(data.std or [1.0])[:, None, None]
    assert float(((found - expected) * std).abs().max()) <= HALF_LEVEL


@given(height=st.integers(1, 60), width=st.integers(1, 60), level=st.integers(0, 255), channels=st.sampled_from([1, 3]))
def test_a_picture_of_one_colour_stays_it_whatever_its_size(height, width, level, channels):
    Image.new("L", (width, height), level).save("one.png")
    found = read_pictures("one.png", (channels, 8, 11))
    assert found.shape == (1, channels, 8, 11)
    assert torch.allclose(found, torch.tensor(level / 255), atol=1e-6)


@given(factor=st.integers(2, 9))
def test_a_picture_that_is_larger_by_a_factor_is_nearly_the_image(factor):
    image = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(factor))
    large = image.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    found = read_pictures(write(large), (3, 5, 7))
    assert torch.corrcoef(torch.stack([found.flatten(), image.flatten()]))[0, 1] > 0.95
    assert found.mean() == pytest.approx(float(image.mean()), abs=0.05)


@pytest.mark.parametrize("side", [2, 3])
def test_nothing_is_cut_off_or_distorted(side):
    """A tall or wide picture fits as a whole, and its outermost pixels fill the rest."""
    image = torch.full((1, 1, 40, 40), 0.2)
    image = image.narrow(side, 0, 20).clone()
    image[..., :4, :] = image[..., -4:, :] = image[..., :, :4] = image[..., :, -4:] = 1.0
    found = read_pictures(write(image), (1, 20, 20))[0, 0]
    found = found if side == 3 else found.T
    assert torch.all(found[:, :5] > 0.9)  # white goes on to the left …
    assert torch.all(found[:, -5:] > 0.9)
    assert torch.all(found[:2] > 0.8)  # … and above it all is there
    assert torch.allclose(found[5:15, 8:12], torch.tensor(0.2), atol=1e-2)


def test_colours_become_grey_by_luminance_and_grey_is_each_colour():
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]])
    files = write(colours[:, :, None, None].expand(-1, -1, 4, 4))
    grey = read_pictures(files, (1, 4, 4)).mean((1, 2, 3))
    assert torch.allclose(grey, torch.tensor([0.299, 0.587, 0.114, 0.5]), atol=2 * HALF_LEVEL)
    assert torch.allclose(read_pictures(files, (3, 4, 4)).mean((2, 3)), colours, atol=HALF_LEVEL)
    files = write(torch.linspace(0, 1, 3)[:, None, None, None].expand(-1, 1, 4, 4))
    for channels in (1, 3):
        found = read_pictures(files, (channels, 4, 4)).mean((2, 3))
        assert torch.allclose(found, torch.linspace(0, 1, 3)[:, None].expand(-1, channels), atol=HALF_LEVEL)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["1", "L", "P", "RGB", "RGBA", "LA", "16 bit", "CMYK", "YCbCr"])
def test_every_kind_of_file_holds_the_same_picture(kind, channels):
    ramp = np.repeat(np.linspace(0, 255, 16).round().astype(np.uint8)[None], 12, 0)
    expected = ramp / 255
    if kind == "16 bit":
        Image.fromarray(ramp.astype(np.uint16) * 257).save("it.png")
    elif kind in ("CMYK", "YCbCr"):
        Image.fromarray(ramp).convert("RGB").convert(kind).save("it.jpg", quality=100)
    else:
        if kind == "1":
            ramp = np.where(ramp > 127, 255, 0).astype(np.uint8)
            expected = ramp / 255
        Image.fromarray(ramp).convert(kind, dither=0).save("it.png")
    found = read_pictures("it.jpg" if kind in ("CMYK", "YCbCr") else "it.png", (channels, 12, 16))
    assert found.shape == (1, channels, 12, 16)
    assert float((found - torch.from_numpy(expected)).abs().max()) <= (
        0.02 if kind in ("CMYK", "YCbCr") else HALF_LEVEL
    )


def test_a_photograph_stands_upright():
    levels = np.zeros((6, 4), np.uint8)
    levels[0] = 255  # above
    turned = Image.fromarray(np.rot90(levels).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    turned.save("turned.png", exif=exif)
    found = read_pictures("turned.png", (1, 6, 4))[0, 0]
    assert torch.equal(found, torch.from_numpy(levels / 255).float())


def test_inverted_is_one_minus_it():
    images = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    files = write(images)
    assert torch.allclose(read_pictures(files, (1, 4, 4), invert=True), 1 - images, atol=HALF_LEVEL)
    data = DigitsDataModule(mean=[0.3], std=[0.5])
    both = (data.pictures(files, invert=invert) * 0.5 + 0.3 for invert in (True, False))
    assert torch.allclose(sum(both), torch.ones(2, 1, 8, 8), atol=1e-6)


def test_pictures_that_look_inverted_are_known_by_their_border():
    images, _ = DigitsDataModule().load(False)
    framed = torch.nn.functional.pad(images, [2] * 4)  # as MNIST's: strokes in the middle, and black around
    assert not look_inverted(framed, framed).any()
    assert look_inverted(1 - framed, framed).all()
    assert look_inverted(framed, 1 - framed).all()
    assert not look_inverted(1 - framed, 1 - framed).any()
    middling = torch.rand(9, 1, 8, 8)
    assert not look_inverted(framed, middling).any()  # of such data nothing can be said
    assert not look_inverted(middling, framed).any()


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("nothing.png", "There is no picture nothing.png: name another one"),
        ("folder", r"The picture folder can't be read \(Is a directory\)"),
        (
            "text.png",
            r"The picture text.png can't be read \(it is damaged, or none of PNG, JPEG, PPM, BMP, TIFF, WEBP\)",
        ),
        ("cut.jpg", r"The picture cut.jpg can't be read \(it is damaged"),
        (
            "moving.gif",
            r"The picture moving.gif can't be read \(it is damaged, or none of PNG, JPEG, PPM, BMP, TIFF, WEBP\)",
        ),
        ("empty.png", r"The picture empty.png can't be read \(it is damaged"),
        ("clear.png", "The picture clear.png is transparent in parts: save it with a background"),
        ("palette.png", "The picture palette.png is transparent in parts"),
    ],
)
def test_what_is_no_picture_is_told_in_one_sentence(file, sentence, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder").mkdir()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    noise.save("whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    noise.save("moving.gif")
    clear = Image.new("RGBA", (5, 5), (255, 255, 255, 255))
    clear.putpixel((2, 2), (0, 0, 0, 254))
    clear.save("clear.png")
    Image.new("P", (5, 5)).save("palette.png", transparency=0)
    good = write(torch.zeros(1, 1, 5, 5))
    with pytest.raises(UserError, match=sentence) as refused:
        DigitsDataModule().pictures([*good, file])
    assert str(refused.value).count(". ") == 0


@pytest.mark.parametrize("ending", ["png", "ppm", "pgm", "bmp", "tiff", "tif", "webp", "jpg"])
def test_every_format_of_a_folder_of_pictures_is_read(ending):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7), dtype=np.uint8))
    noise.save("noise.png")
    noise.convert("L" if ending == "pgm" else "RGB").save(
        f"noise.{ending}", **({"lossless": True} if ending == "webp" else {})
    )
    found, expected = (read_pictures(file, (1, 9, 7)) for file in (f"noise.{ending}", "noise.png"))
    assert torch.allclose(found, expected, atol=0.2 if ending == "jpg" else 1e-6)


@pytest.mark.parametrize("ending", ["tiff", "webp"])
def test_a_file_of_several_pictures_is_refused(ending):
    one, other = (Image.new("L", (5, 5), level) for level in (0, 255))
    one.save(f"several.{ending}", save_all=True, append_images=[other])
    with pytest.raises(UserError, match="is a file of several: save each as a picture of its own"):
        read_pictures(f"several.{ending}", (1, 5, 5))


def test_one_grey_level_of_sixteen_bits_may_be_transparent():
    """Pillow can't convert such a picture; whether it is refused depends on the pixels, as for any other."""
    levels = np.array([[0, 65535], [300, 257]], dtype=np.uint16)
    Image.fromarray(levels).save("clear.png", transparency=300)
    Image.fromarray(levels).save("opaque.png", transparency=301)
    with pytest.raises(UserError, match=r"The picture clear\.png is transparent in parts"):
        read_pictures("clear.png", (1, 2, 2))
    found = read_pictures("opaque.png", (1, 2, 2))
    assert torch.allclose(found, torch.from_numpy(levels.astype(np.float32) / 65535)[None, None], atol=1e-6)


def test_no_pictures_at_all_are_refused():
    with pytest.raises(UserError, match="There is no picture to read"):
        DigitsDataModule().pictures([])


def test_data_that_are_no_pictures_take_none():
    class TwoChannels(Coloured):
        image_shape = (2, 6, 9)
        default_mean = default_std = None

    with pytest.raises(UserError, match="TwoChannels has no images of one or three channels"):
        TwoChannels().pictures(write(torch.zeros(1, 1, 4, 4)))

    class ThreeNumbers(Coloured):
        """Vectors of three values, which are no colours."""

        image_shape = (3, 1, 1)
        in_unit_interval = False

    with pytest.raises(UserError, match="ThreeNumbers has no images of one or three channels"):
        ThreeNumbers().pictures(write(torch.zeros(1, 1, 4, 4)))


def test_classes_have_names_where_the_data_know_them():
    for data in (None, object(), SimpleNamespace(class_names=None)):
        assert class_names(data) is None
        assert name_of(data, 3) == "3"
    data = SimpleNamespace(class_names=("T-shirt", "trouser", "pullover", "dress"))
    assert class_names(data) == ["T-shirt", "trouser", "pullover", "dress"]
    assert name_of(data, 3) == "dress"
