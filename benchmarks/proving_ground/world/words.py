"""Names, things and places of the world, in both languages: position i is the same in each."""

from __future__ import annotations

from benchmarks.proving_ground.world.family import Language

NAMES: dict[Language, tuple[str, ...]] = {
    "en": ("Mia", "Ken", "Ann", "Leo", "Sara", "Tom", "Yui", "Ben", "Nora", "Max", "Emi", "Jun"),
    "ja": ("美亜", "健", "杏", "玲央", "沙良", "翔", "結衣", "勉", "紀子", "守", "絵美", "純"),
}
THINGS: dict[Language, tuple[str, ...]] = {
    "en": ("apples", "pens", "stamps", "books", "shells", "coins", "cards", "eggs"),
    "ja": ("りんご", "ペン", "切手", "本", "貝殻", "硬貨", "カード", "卵"),
}
BAGS: dict[Language, tuple[str, ...]] = {
    "en": ("bags", "boxes", "packs", "trays"),
    "ja": ("袋", "箱", "包み", "皿"),
}
CITIES: dict[Language, tuple[str, ...]] = {
    "en": ("Osaka", "Kyoto", "Paris", "Lima", "Oslo", "Rome", "Cairo", "Seoul"),
    "ja": ("大阪", "京都", "パリ", "リマ", "オスロ", "ローマ", "カイロ", "ソウル"),
}
JOBS: dict[Language, tuple[str, ...]] = {
    "en": ("baker", "nurse", "pilot", "cook", "clerk", "actor"),
    "ja": ("パン屋", "看護師", "操縦士", "料理人", "店員", "俳優"),
}
SHORT: dict[Language, tuple[str, ...]] = {
    "en": ("red", "sun", "tea", "map", "cat", "sky", "box", "ice", "oak", "pen", "fox", "sea"),
    "ja": ("赤", "太陽", "お茶", "地図", "猫", "空", "箱", "氷", "木", "ペン", "狐", "海"),
}
