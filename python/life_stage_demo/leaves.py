"""Leaf categories of the simulated shop: names, peak ages, sizes.

All values are invented. Titles and searches use the Chinese names, which contain no age word, so that the parameters
alone determine the share of titles with an age word.
"""

from typing import NamedTuple

import numpy as np

from .ages import AGES, N_ROWS, NO_AGE, warped
from .category_shares import CATEGORIES, category_given_age
from .parameters import Parameters


class Leaf(NamedTuple):
    """One leaf category: peak age in months, width on the warped scale, relative weight, size scheme."""

    category: str
    name: str
    chinese: str
    peak: float
    width: float
    weight: float = 1.0
    sizes: str = ""


_BY_CATEGORY = {
    "maternity": (
        ("support dresses", "托腹裙", -4, 0.5, 2, "mother"),
        ("support trousers", "托腹裤", -4, 0.5, 2, "mother"),
        ("folic acid", "叶酸片", -8, 0.5),
        ("shielding clothes", "防辐射服", -6, 0.4),
        ("belly oil", "滋润橄榄油", -4, 0.5),
        ("body pillows", "侧睡枕", -3, 0.5),
        ("hospital bags", "入院包", -1, 0.4, 1.5),
        ("nursing bras", "哺乳内衣", 2, 0.5, 2, "mother"),
        ("breast pumps", "吸奶器", 1, 0.4),
        ("belly belts", "收腹带", 2, 0.4),
    ),
    "diapers and care": (
        ("diapers", "纸尿裤", 6, 0.6, 4, "diaper"),
        ("pull-up pants", "拉拉裤", 16, 0.5, 2, "diaper"),
        ("wipes", "湿巾", 8, 0.9, 2),
        ("bottles", "奶瓶", 4, 0.6, 2),
        ("sterilisers", "消毒锅", 0, 0.5, 0.7),
        ("bath tubs", "浴盆", 1, 0.6),
        ("prams", "推车", 4, 0.6),
        ("cots", "小床", -1, 0.6),
        ("carriers", "背带腰凳", 6, 0.5),
        ("high chairs", "餐椅", 9, 0.4),
        ("potties", "坐便器", 20, 0.4),
        ("cutlery", "餐具碗勺", 18, 0.6),
        ("sippy cups", "吸管杯", 12, 0.5),
        ("skin care", "润肤霜", 10, 1.0),
        ("toothbrushes", "软毛牙刷", 30, 0.5),
        ("safety gates", "安全门栏", 10, 0.5, 0.6),
        ("car seats", "安全座椅", 12, 0.8),
    ),
    "formula and food": (
        ("formula", "奶粉", 9, 1.0, 5, "formula"),
        ("rice cereal", "米粉", 7, 0.35),
        ("purees", "果泥", 9, 0.4),
        ("rusks", "磨牙棒", 9, 0.4),
        ("puffs", "溶豆泡芙", 13, 0.4),
        ("noodles", "碎碎面", 14, 0.5),
        ("algae oil", "藻油", 6, 1.0),
        ("calcium", "钙片", 24, 0.7),
        ("probiotics", "益生菌", 8, 0.9),
        ("snacks", "山楂条零食", 40, 0.5),
        ("cod liver oil", "鱼肝油", 5, 0.8),
    ),
    "toys": (
        ("rattles", "摇铃", 3, 0.4),
        ("play mats", "爬行垫", 7, 0.5),
        ("cloth books", "布书", 6, 0.5),
        ("push walkers", "手推车玩具", 11, 0.4),
        ("stacking toys", "叠叠乐", 14, 0.5),
        ("music toys", "音乐玩具", 12, 0.7),
        ("bath toys", "洗澡玩具", 12, 0.7),
        ("ride-ons", "扭扭车", 22, 0.4),
        ("blocks", "积木", 36, 0.5, 2),
        ("picture books", "绘本", 34, 0.6, 2),
        ("drawing boards", "画板", 30, 0.5),
        ("puzzles", "拼图", 38, 0.5),
        ("dolls", "娃娃", 44, 0.6),
        ("model cars", "模型车", 40, 0.6),
        ("scooters", "滑板车", 44, 0.4),
        ("remote-control toys", "遥控玩具", 60, 0.5),
        ("science kits", "科学实验盒", 70, 0.4),
    ),
    "clothing": (
        ("rompers", "连体衣", 4, 0.5, 2, "height"),
        ("bodysuits", "包屁衣", 5, 0.5, 1.5, "height"),
        ("swaddles", "包被", 0, 0.4),
        ("bibs", "口水巾", 6, 0.5),
        ("sleeping bags", "睡袋", 9, 0.8),
        ("sun hats", "遮阳帽", 14, 0.9),
        ("socks", "棉袜", 18, 1.0),
        ("t-shirts", "T恤", 38, 0.8, 3, "height"),
        ("trousers", "长裤", 34, 0.8, 3, "height"),
        ("dresses", "连衣裙", 44, 0.7, 2, "height"),
        ("jackets", "外套", 38, 0.8, 2, "height"),
        ("pyjamas", "家居服", 32, 0.8, 2, "height"),
        ("down coats", "羽绒服", 40, 0.8, 1.5, "height"),
        ("swimwear", "泳衣", 48, 0.6, 1, "height"),
        ("backpacks", "双肩包", 52, 0.4),
    ),
    "shoes": (
        ("pre-walkers", "软底鞋", 9, 0.4, 1, "foot"),
        ("first steps", "机能鞋", 15, 0.4, 2, "foot"),
        ("sandals", "凉鞋", 34, 0.7, 2, "foot"),
        ("trainers", "运动鞋", 44, 0.7, 3, "foot"),
        ("boots", "雪地靴", 38, 0.7, 1, "foot"),
        ("canvas shoes", "帆布鞋", 42, 0.6, 1.5, "foot"),
    ),
    "household": tuple(
        (name, chinese, 20, 9.0)
        for name, chinese in (
            ("bedding", "四件套"),
            ("kitchenware", "炒锅"),
            ("ladies' wear", "女装"),
            ("face care", "面霜"),
            ("storage", "收纳箱"),
            ("cleaning", "洗衣液"),
            ("phone cases", "手机壳"),
            ("nuts", "坚果"),
        )
    ),
}

LEAVES = tuple(Leaf(category, *leaf) for category in CATEGORIES for leaf in _BY_CATEGORY[category])
LEAF_CATEGORY = np.array([CATEGORIES.index(leaf.category) for leaf in LEAVES])


def leaf_given_age(parameters: Parameters) -> np.ndarray:
    """p(leaf | age) = p(category | age) p(leaf | category, age), shape (N_ROWS, n_leaves)."""
    categories = category_given_age(parameters.category_sharpness, parameters.household_share)
    curves = np.empty((N_ROWS, len(LEAVES)))
    for column, leaf in enumerate(LEAVES):
        bump = np.exp(-0.5 * ((warped(AGES) - warped(leaf.peak)) / leaf.width) ** 2)
        curves[:NO_AGE, column] = leaf.weight * (0.03 + bump) ** parameters.leaf_sharpness
        curves[NO_AGE, column] = leaf.weight
    totals = np.stack([curves[:, k == LEAF_CATEGORY].sum(axis=1) for k in range(len(CATEGORIES))], axis=1)
    return categories[:, LEAF_CATEGORY] * curves / totals[:, LEAF_CATEGORY]
