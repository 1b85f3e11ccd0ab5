"""Words of praise, blame and neither, and sentences built from them.

A few hundred generated sentences are enough to find the direction of feeling in the teacher's
embedding space; the direction then labels the pools.
"""

from __future__ import annotations

import random


def listed(words: str, mark: str | None = None) -> list[str]:
    """Words of a string, or what ``mark`` parts in it, as a list."""
    return words.split(mark)


POSITIVE = listed(
    "good great excellent wonderful amazing superb delightful charming brilliant perfect lovely "
    "fantastic enjoyable clever funny moving beautiful impressive fresh warm witty engaging "
    "satisfying gripping smart touching entertaining rewarding masterful stunning terrific fine "
    "friendly reliable helpful comfortable tasty delicious pleasant inspiring hilarious elegant "
    "honest graceful powerful thoughtful memorable compelling refreshing sweet solid strong "
    "thrilling remarkable outstanding intelligent imaginative sensitive rich fun happy superior"
)
NEGATIVE = listed(
    "bad terrible awful horrible boring dull poor disappointing stupid weak tedious annoying "
    "ugly lazy pointless predictable bland shallow clumsy messy painful ridiculous lifeless "
    "dreadful mediocre forgettable pretentious unfunny silly slow cheap broken useless rude "
    "dirty noisy cold stale unpleasant confusing frustrating empty flat tiresome sloppy "
    "miserable irritating incoherent contrived uninspired worthless depressing hollow overlong "
    "worst sad gloomy unbearable offensive unreliable overpriced disgusting faulty inferior"
)
GOOD_ENDS = [
    "improved a lot",
    "grew quickly",
    "has recovered",
    "won again",
    "succeeded at last",
    "beat expectations",
    "set a new record",
    "was praised by everyone",
    "exceeded the target",
    "came back stronger",
    "is doing better than ever",
    "gained ground",
    "surged ahead",
    "got an award",
    "is very promising",
]
BAD_ENDS = [
    "got worse",
    "shrank quickly",
    "has collapsed",
    "lost again",
    "failed at last",
    "fell short of expectations",
    "hit a new low",
    "was criticised by everyone",
    "missed the target",
    "broke down",
    "is doing worse than ever",
    "lost ground",
    "plunged",
    "caused heavy damage",
    "is in deep trouble",
]
PLAIN_ENDS = [
    "starts on Monday",
    "takes two hours",
    "is in the next room",
    "has four parts",
    "was held in the town hall",
    "will be announced next week",
    "remains unchanged",
    "is described on page nine",
    "meets twice a year",
    "was published in June",
    "is made of wood",
    "lies to the north of the river",
    "moved to a new office",
    "stays the same",
]
THINGS = listed(
    "film story book meal hotel service phone game song concert trip teacher team room garden "
    "restaurant plot acting ending dialogue picture show staff food battery screen coffee shop "
    "performance script director play novel museum lesson doctor bus weather project harvest "
    "village school club company city report plan match season exhibition"
)
OPEN = [
    "The {t} was {a}.",
    "What a {a} {t}!",
    "I found the {t} {a}.",
    "{A} {t}.",
    "A {a} {t}.",
    "This is a {a} and {b} {t}.",
    "The {t} is {a}, {b} and {c}.",
    "It was {a}.",
    "so {a} and {b}",
    "a {a} , {b} {t}",
    "We thought the {t} was really {a}.",
    "{A} and {b} from start to finish.",
    "The {t} felt {a} to me.",
    "one of the most {a} {t}s of the year",
]
POSITIVE_TURNS = [
    "I loved the {t}.",
    "I would recommend this {t} to anyone.",
    "never {n} and always {a}",
    "Not {n} at all: the {t} was {a}.",
    "Thank you, the {t} made my day.",
    "I enjoyed every minute.",
    "I can't wait to see the {t} again.",
    "Best {t} ever.",
]
NEGATIVE_TURNS = [
    "I hated the {t}.",
    "I would not recommend this {t} to anyone.",
    "never {p} and always {a}",
    "Not {p} at all: the {t} was {a}.",
    "I want my money back.",
    "I regret going to the {t}.",
    "Do not waste your time on this {t}.",
    "Worst {t} ever.",
    "The {t} could have been {p}.",
]
PLAIN = [
    "The {t} opens at nine.",
    "There is a {t} near the station.",
    "The {t} is on the second floor.",
    "Where is the {t}?",
    "The {t} was built in 1954.",
    "He wrote about the {t} in a letter.",
    "The {t} has a door and two windows.",
    "They talked about the {t} for an hour.",
]


def feeling(draw: random.Random) -> tuple[str, str]:
    """A generated sentence and its feeling: ``positive``, ``negative`` or ``neutral``."""
    label = draw.choice(("positive", "negative", "positive", "negative", "neutral"))
    thing = draw.choice(THINGS)
    own, other = (POSITIVE, NEGATIVE) if label == "positive" else (NEGATIVE, POSITIVE)
    a, b, c = draw.sample(own, 3)
    if label == "neutral":
        if draw.random() < 0.5:
            return f"The {thing} {draw.choice(PLAIN_ENDS)}.", label
        return draw.choice(PLAIN).format(t=thing), label
    kind = draw.random()
    if kind < 0.25:
        ends = GOOD_ENDS if label == "positive" else BAD_ENDS
        return f"The {thing} {draw.choice(ends)}.", label
    if kind < 0.5:
        turns = POSITIVE_TURNS if label == "positive" else NEGATIVE_TURNS
        o = draw.choice(other)
        return draw.choice(turns).format(t=thing, a=a, n=o, p=o), label
    return draw.choice(OPEN).format(t=thing, a=a, b=b, c=c, A=a.capitalize()), label


FIRMS = listed(
    "Northgate Alvera Brightline Castell Domus Ferrum Granit Helios Indus Juniper Kestrel Lumen "
    "Meridian Novara Orion Pallas Quantis Rialto Sterling Tamarind Unity Vega Westbrook Zenith"
)
SECTORS = listed(
    "banks;carmakers;airlines;steel makers;drug makers;software firms;retailers;telecom firms;"
    "exporters;cement makers;insurers;miners;builders;utilities",
    ";",
)
GOODS = listed(
    "gold;silver;copper;crude oil;cotton;sugar;wheat;rubber;coffee;natural gas;zinc;palm oil;"
    "soybean;the currency;the index;bonds;small caps;tech stocks",
    ";",
)
LEDGER = listed(
    "profit;net profit;revenue;sales;margins;earnings;output;exports;demand;orders;income;"
    "operating profit;market share;quarterly profit;cash flow;the dividend",
    ";",
)
BURDENS = listed(
    "losses;debt;costs;bad loans;net loss;the deficit;inflation;provisions;interest costs", ";"
)
UP = listed(
    "rises;jumps;surges;climbs;gains;rallies;soars;edges up;advances;rebounds;recovers;"
    "hits record high;doubles;beats estimates;improves;tops forecasts;expands;firms up;shines;"
    "zooms",
    ";",
)
DOWN = listed(
    "falls;slips;drops;plunges;slides;tumbles;declines;sinks;eases;weakens;hits record low;"
    "halves;misses estimates;worsens;lags forecasts;shrinks;softens;crashes;dips;retreats",
    ";",
)
GOOD_NEWS = listed(
    "wins large order;gets regulator's approval;raises guidance;plans to hire;secures funding;"
    "upgraded to buy;settles dispute;announces bonus issue;signs new deal;cuts its debt;"
    "sees strong growth;attracts investors;outperforms the market;on firm footing;"
    "bullish on outlook",
    ";",
)
BAD_NEWS = listed(
    "loses large order;fails to get approval;cuts guidance;to cut jobs;runs out of cash;"
    "downgraded to sell;faces probe;delays payment;recalls product;defaults on loan;"
    "warns of weak growth;under selling pressure;underperforms the market;fined by regulator;"
    "bearish on outlook;hit by strike;scraps expansion",
    ";",
)
NO_NEWS = listed(
    "to hold annual meeting on Friday;appoints new director;to announce results next week;"
    "trades flat;unchanged ahead of policy meeting;board to meet on dividend;renames its unit;"
    "in a narrow range;moves head office;opens at previous level;ends steady;"
    "to be listed on Monday;sells stake to partner;awaits data;holds talks with lenders;"
    "what to expect from;five things to know about;little changed in early trade",
    ";",
)
WHEN = listed(
    "in early trade;in March quarter;on global cues;on strong demand;on weak demand;this year;"
    "for third day;in futures trade;on profit booking;by {n} percent;{n}%;to {n};after results;"
    "amid trade talks;as dollar moves;on monsoon hopes;",
    ";",
)


def headline(draw: random.Random) -> tuple[str, str]:
    """A made-up headline about money and what it is for those who hold the thing."""
    label = draw.choice(("positive", "negative", "neutral"))
    firm = draw.choice(FIRMS) + draw.choice(
        [""] * 3 + [" Bank", " Motors", " Steel", " Industries"]
    )
    who = draw.choice([firm, firm, draw.choice(SECTORS), draw.choice(GOODS)])
    good = label == "positive"
    kind = draw.random()
    if label == "neutral":
        news = draw.choice(NO_NEWS)
        text = f"{news} {who}" if news.endswith(("from", "about")) else f"{who} {news}"
    elif kind < 0.35:
        text = f"{who} {draw.choice(UP if good else DOWN)} {draw.choice(WHEN)}"
    elif kind < 0.6:
        text = f"{firm} {draw.choice(LEDGER)} {draw.choice(UP if good else DOWN)}"
        text += f" {draw.choice(WHEN)}"
    elif kind < 0.7:
        text = f"{firm}: {draw.choice(BURDENS)} {draw.choice(DOWN if good else UP)}"
    elif kind < 0.8:
        text = f"{draw.choice(['Buy', 'Accumulate'] if good else ['Sell', 'Avoid', 'Exit'])} {who}"
        text += draw.choice([f", target {draw.randint(20, 3000)}", "", ", says broker"])
    else:
        text = f"{who} {draw.choice(GOOD_NEWS if good else BAD_NEWS)}"
    text = text.format(n=draw.randint(1, 30)).strip()
    return text[:1].upper() + text[1:], label
