"""Which languages does the base handle? Its loss on the same sentences in each, a character.

The sentences say the same in every language, so that their whole losses can be compared across
scripts: `times_english` is the loss of all sentences over that of the English ones. A language is
handled where its order of letters helps: where a sentence costs clearly less a character than the
same letters shuffled.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from luthier.models.adaptation import Adaptation
from luthier.models.model import Model

HANDLED = 0.5  # of the loss of the same letters shuffled
SHUFFLED = 2  # sentences of each language
ENGLISH = "English"
SENTENCES = {
    ENGLISH: (
        "The children are playing in the garden behind the house.",
        "Yesterday it rained all day, and we stayed at home.",
        "I would like a glass of water and a piece of bread, please.",
        "The train to the city leaves at eight in the morning.",
        "My sister has bought a new bicycle because the old one was broken.",
    ),
    "German": (
        "Die Kinder spielen im Garten hinter dem Haus.",
        "Gestern hat es den ganzen Tag geregnet, und wir sind zu Hause geblieben.",
        "Ich hätte gern ein Glas Wasser und ein Stück Brot, bitte.",
        "Der Zug in die Stadt fährt um acht Uhr morgens ab.",
        "Meine Schwester hat ein neues Fahrrad gekauft, weil das alte kaputt war.",
    ),
    "French": (
        "Les enfants jouent dans le jardin derrière la maison.",
        "Hier il a plu toute la journée, et nous sommes restés à la maison.",
        "Je voudrais un verre d'eau et un morceau de pain, s'il vous plaît.",
        "Le train pour la ville part à huit heures du matin.",
        "Ma sœur a acheté un nouveau vélo parce que l'ancien était cassé.",
    ),
    "Spanish": (
        "Los niños juegan en el jardín detrás de la casa.",
        "Ayer llovió todo el día y nos quedamos en casa.",
        "Quisiera un vaso de agua y un trozo de pan, por favor.",
        "El tren a la ciudad sale a las ocho de la mañana.",
        "Mi hermana ha comprado una bicicleta nueva porque la vieja estaba rota.",
    ),
    "Italian": (
        "I bambini giocano nel giardino dietro la casa.",
        "Ieri ha piovuto tutto il giorno e siamo rimasti a casa.",
        "Vorrei un bicchiere d'acqua e un pezzo di pane, per favore.",
        "Il treno per la città parte alle otto di mattina.",
        "Mia sorella ha comprato una bicicletta nuova perché quella vecchia era rotta.",
    ),
    "Portuguese": (
        "As crianças brincam no jardim atrás da casa.",
        "Ontem choveu o dia todo e ficamos em casa.",
        "Eu gostaria de um copo de água e um pedaço de pão, por favor.",
        "O trem para a cidade sai às oito da manhã.",
        "Minha irmã comprou uma bicicleta nova porque a velha estava quebrada.",
    ),
    "Dutch": (
        "De kinderen spelen in de tuin achter het huis.",
        "Gisteren regende het de hele dag en we bleven thuis.",
        "Ik wil graag een glas water en een stuk brood, alstublieft.",
        "De trein naar de stad vertrekt om acht uur 's ochtends.",
        "Mijn zus heeft een nieuwe fiets gekocht omdat de oude kapot was.",
    ),
    "Swedish": (
        "Barnen leker i trädgården bakom huset.",
        "I går regnade det hela dagen och vi stannade hemma.",
        "Jag skulle vilja ha ett glas vatten och en bit bröd, tack.",
        "Tåget till staden går klockan åtta på morgonen.",
        "Min syster har köpt en ny cykel eftersom den gamla var trasig.",
    ),
    "Polish": (
        "Dzieci bawią się w ogrodzie za domem.",
        "Wczoraj cały dzień padał deszcz i zostaliśmy w domu.",
        "Poproszę szklankę wody i kawałek chleba.",
        "Pociąg do miasta odjeżdża o ósmej rano.",
        "Moja siostra kupiła nowy rower, bo stary był zepsuty.",
    ),
    "Turkish": (
        "Çocuklar evin arkasındaki bahçede oynuyor.",
        "Dün bütün gün yağmur yağdı ve evde kaldık.",
        "Bir bardak su ve bir parça ekmek istiyorum, lütfen.",
        "Şehre giden tren sabah saat sekizde kalkıyor.",
        "Kız kardeşim yeni bir bisiklet aldı çünkü eskisi bozuktu.",
    ),
    "Russian": (
        "Дети играют в саду за домом.",
        "Вчера весь день шёл дождь, и мы остались дома.",
        "Я хотел бы стакан воды и кусок хлеба, пожалуйста.",
        "Поезд в город отправляется в восемь часов утра.",
        "Моя сестра купила новый велосипед, потому что старый сломался.",
    ),
    "Arabic": (
        "يلعب الأطفال في الحديقة خلف البيت.",
        "أمس هطل المطر طوال اليوم وبقينا في البيت.",
        "أريد كوبا من الماء وقطعة من الخبز من فضلك.",
        "يغادر القطار إلى المدينة في الساعة الثامنة صباحا.",
        "اشترت أختي دراجة جديدة لأن القديمة كانت مكسورة.",
    ),
    "Chinese": (
        "孩子们在房子后面的花园里玩。",
        "昨天下了一整天的雨，我们待在家里。",
        "我想要一杯水和一块面包，谢谢。",
        "去城里的火车早上八点开。",
        "我姐姐买了一辆新自行车，因为旧的坏了。",
    ),
    "Japanese": (
        "子どもたちは家の裏の庭で遊んでいます。",
        "昨日は一日中雨が降ったので、家にいました。",
        "水を一杯とパンを一切れください。",
        "町へ行く電車は朝の八時に出ます。",
        "古い自転車が壊れたので、姉は新しい自転車を買いました。",
    ),
}


@dataclass(frozen=True, slots=True)
class LanguageLoss:
    """The loss of one language: nats a character with the standard error over sentences, that of
    the same letters shuffled, and the loss of all sentences over that of the English ones."""

    language: str
    nats_per_character: float
    error: float
    shuffled: float
    times_english: float

    @property
    def handled(self) -> bool:
        """Whether the order of the letters helps clearly."""
        return self.nats_per_character <= HANDLED * self.shuffled


def language_losses(model: Model, *, seed: int = 0) -> tuple[LanguageLoss, ...]:
    """The losses of all languages, the least first. CapabilityError where the base gives no
    log-probabilities of a text, which no encoder-decoder does."""
    rng = random.Random(seed)
    shuffled = {
        name: [_shuffled(s, rng) for s in texts[:SHUFFLED]] for name, texts in SENTENCES.items()
    }
    texts = [s for name in SENTENCES for s in (*SENTENCES[name], *shuffled[name])]
    losses = iter(_losses(model, texts))
    own, mixed = {}, {}
    for name in SENTENCES:
        own[name] = [next(losses) for _ in SENTENCES[name]]
        mixed[name] = [next(losses) for _ in shuffled[name]]
    english = sum(own[ENGLISH])
    found = []
    for name, sentences in SENTENCES.items():
        each = [loss / len(s) for loss, s in zip(own[name], sentences, strict=True)]
        other = mean(loss / len(s) for loss, s in zip(mixed[name], shuffled[name], strict=True))
        error = stdev(each) / len(each) ** 0.5
        found.append(LanguageLoss(name, mean(each), error, other, sum(own[name]) / english))
    return tuple(sorted(found, key=lambda loss: loss.times_english))


def _losses(model: Model, texts: Sequence[str]) -> list[float]:
    """Nats of each text after a line end, so that its first letters count too."""
    scored = model.backend.text_logprobs([f"\n{text}" for text in texts], Adaptation())
    return [-sum(value for value in one.logprobs[1:] if value is not None) for one in scored]


def _shuffled(text: str, rng: random.Random) -> str:
    letters = list(text)
    rng.shuffle(letters)
    return "".join(letters)
