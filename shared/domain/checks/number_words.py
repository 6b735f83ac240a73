"""Names small numbers and powers of ten in words, so that `three` and `3` are the same number to the checks."""

import re
from collections.abc import Mapping

VALUES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 1000)
_WORDS = {
    "en": (
        "zero/no/none one/a/an/first/once/single two/second/twice/both/couple/pair/double/half three/third/triple "
        "four/fourth/quarter five/fifth six/sixth seven/seventh eight/eighth nine/ninth ten/tenth eleven/eleventh "
        "twelve/twelfth/dozen/noon fifteen twenty thirty/half forty fifty/half sixty seventy eighty ninety "
        "hundred/century thousand"
    ),
    "de": (
        "null/kein ein/eins/erst/einmal zwei/zweit/beide/doppelt/halb/paar drei/dritt vier/viert fünf sechs sieb "
        "acht neun zehn elf zwölf/dutzend/mittag fünfzehn zwanzig dreißig/dreissig/halb vierzig fünfzig/hälfte "
        "sechzig siebzig achtzig neunzig hundert tausend"
    ),
    "fr": (
        "zéro/aucun un/une/premier/première deux/deuxième/second/double/demi/moitié trois/troisième/tiers "
        "quatre/quart cinq six sept huit neuf dix onze douze/douzaine/midi quinze vingt trente/demie quarante "
        "cinquante soixante soixante-dix quatre-vingt quatre-vingt-dix cent mille/millier"
    ),
    "es": (
        "cero/ningún uno/un/una/primer/primera dos/segundo/segunda/doble/medio/mitad/ambos tres/tercer/tercera "
        "cuatro/cuarto cinco/quint seis/sext siete/séptim ocho/octav nueve/noven diez/décim once "
        "doce/docena/mediodía quince veinte/veinti treinta/media cuarenta cincuenta sesenta setenta ochenta "
        "noventa cien/ciento mil"
    ),
    "pt": (
        "zero/nenhum um/uma/primeir dois/duas/segund/dobro/meio/metade/ambos três/terceir quatro/quart cinco/quint "
        "seis/sext sete/sétim oito/oitav nove/non dez/décim onze doze/dúzia/meio-dia quinze vinte trinta/meia "
        "quarenta cinquenta sessenta setenta oitenta noventa cem/cento mil"
    ),
    "it": (
        "zero/nessun uno/un/una/prim due/second/doppi/metà/mezz/entramb tre/terz quattro/quart cinque/quint "
        "sei/sest sette/settim otto/ottav nove/non dieci/decim undici dodici/dozzina/mezzogiorno quindici venti "
        "trenta/mezza quaranta cinquanta sessanta settanta ottanta novanta cento mille/mila"
    ),
    "nl": (
        "nul/geen een/één/eerste twee/tweede/dubbel/half/beide drie/derde vier/kwart vijf zes zeven acht negen "
        "tien elf twaalf/dozijn vijftien twintig dertig/half veertig vijftig zestig zeventig tachtig negentig "
        "honderd duizend"
    ),
    "ru": (
        "ноль/нул/ни один/одн/перв два/две/дву/двой/втор/оба/обе/пол три/трех/трёх/трём/трет/трое/тройн "
        "четыр/четвёрт/четверт/четвер пят шест сем восем/восьм девят десят одиннадцат двенадцат/дюжин/полд "
        "пятнадцат двадцат тридцат сорок пятьдесят/полов шестьдесят семьдесят восемьдесят девяносто сто/сотн тысяч"
    ),
    "pl": (
        "zero/żadn jeden/jedn/pierwsz dwa/dwie/dwó/dwoj/drug/oba/pół trzy/trzech/trzeci/troje czter/czwart "
        "pięć/pięci/piąt sześć/sześci/szóst siedem/siedmi/siódm osiem/ośmi/ósm dziewięć/dziewią dziesięć/dziesią "
        "jedenaście/jedenast dwanaście/dwunast/tuzin/połud piętnaście dwadzieścia trzydzieści czterdzieści "
        "pięćdziesiąt/połow sześćdziesiąt siedemdziesiąt osiemdziesiąt dziewięćdziesiąt sto/stu/setk tysiąc/tysię"
    ),
    "tr": (
        "sıfır bir/ilk iki/ikinci/yarım/yarı üç/üçüncü dört beş altı yedi sekiz dokuz on onbir/on\xa0bir "
        "oniki/düzine/öğle onbeş yirmi otuz/buçuk kırk elli altmış yetmiş seksen doksan yüz bin"
    ),
    "sv": (
        "noll en/ett/första två/andra/båda/dubbel/halv tre/tredje fyra fem sex sju åtta nio tio elva tolv/dussin "
        "femton tjugo trettio/halv fyrtio femtio sextio sjuttio åttio nittio hundra tusen"
    ),
    "ar": (
        "صفر واحد/أول/الأول/واحدة/مرة اثن/إثن/ثان/مرتين/كلا/نصف ثلاث/ثالث أربع/رابع/ربع خمس/خامس ست/سادس سبع/سابع "
        "ثمان/ثامن تسع/تاسع عشر/عاشر أحد\xa0عشر/احد اثنا\xa0عشر/اثني/ظهر خمسة\xa0عشر عشرين/عشرون ثلاثين/ثلاثون/نصف "
        "أربعين/أربعون خمسين/خمسون/نصف ستين/ستون سبعين/سبعون ثمانين/ثمانون تسعين/تسعون مائة/مئة/مئت/مائت ألف/آلاف"
    ),
    "he": (
        "אפס אחד/אחת/ראשו/פעם שני/שתי/שניים/פעמיים/חצי שלוש/שליש ארבע/רביע/רבע חמש/חמיש שש/שיש שבע/שביע שמונה/שמינ "
        "תשע/תשיע עשר/עשיר אחד\xa0עשר/אחת שנים\xa0עשר/תריסר/צהריים חמישה\xa0עשר/חמש עשרים שלושים/חצי ארבעים "
        "חמישים/מחצית שישים שבעים שמונים תשעים מאה/מאות אלף/אלפ"
    ),
    "hi": (
        "शून्य एक/पहल/प्रथम दो/दूसर/दोन/आध तीन/तीसर चार/चौथ पाँच/पांच छह/छः/छठ सात आठ नौ दस/दसव ग्यारह बारह/दर्जन "
        "पंद्रह/पन्द्रह बीस तीस चालीस पचास/आध साठ सत्तर अस्सी नब्बे सौ हज़ार/हजार"
    ),
    "ja": (
        "零/ゼロ/〇 一/1/ひと/初/最初 二/ふた/両/半/倍 三/みっ 四/よっ 五/いつ 六/むっ 七/なな 八/やっ "
        "九/ここの 十 十一 十二/正午/ダース 十五 二十 三十/半 四十 五十/半 六十 七十 "
        "八十 九十 百 千"
    ),
    "zh": (
        "零/〇 一/首 二/两/兩/双/雙/半/倍 三 四/刻 五 六 七 八 九 十 十一 十二/中午/正午/打 十五 二十 "
        "三十/半 四十 五十/半 六十 七十 八十 九十 百 千"
    ),
    "ko": (
        "영/제로/없 일/한/하나/첫/처음 이/두/둘/양/반/배 삼/세/셋/석 사/네/넷/넉 오/다섯 육/여섯 칠/일곱 "
        "팔/여덟 구/아홉 십/열 십일/열한/열하나 십이/열두/열둘/정오 십오/열다섯 "
        "이십/스무/스물 삼십/서른/반 사십/마흔 오십/쉰/절반 육십/예순 칠십/일흔 팔십/여든 구십/아흔 백 천"
    ),
    "th": (
        "ศูนย์ หนึ่ง/แรก/เดียว สอง/คู่/ครึ่ง สาม สี่ ห้า หก เจ็ด แปด เก้า สิบ สิบเอ็ด สิบสอง/เที่ยง/โหล สิบห้า "
        "ยี่สิบ สามสิบ/ครึ่ง สี่สิบ ห้าสิบ/ครึ่ง หกสิบ เจ็ดสิบ แปดสิบ เก้าสิบ ร้อย พัน"
    ),
}
"""{language: the words of VALUES in order, each with its forms or stems}."""
_TEENS = {
    "en": "thirteen fourteen sixteen seventeen eighteen nineteen",
    "de": "dreizehn vierzehn sechzehn siebzehn achtzehn neunzehn",
    "fr": "treize quatorze seize dix-sept dix-huit dix-neuf",
    "es": "trece catorce dieciséis diecisiete dieciocho diecinueve",
    "pt": "treze quatorze/catorze dezesseis/dezasseis dezessete/dezassete dezoito dezenove/dezanove",
    "it": "tredici quattordici sedici diciassette diciotto diciannove",
    "nl": "dertien veertien zestien zeventien achttien negentien",
    "ru": "тринадцат четырнадцат шестнадцат семнадцат восемнадцат девятнадцат",
    "pl": "trzynast/trzynaście czternast szesnast siedemnast osiemnast dziewiętnast",
    "sv": "tretton fjorton sexton sjutton arton nitton",
}
"""{language: the words for 13, 14, 16, 17, 18 and 19}; the other languages put them together from 10 and a digit."""
NUMBER_WORDS: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    language: {
        value: tuple(forms.split("/"))
        for values, listed in ((VALUES, words), ((13, 14, 16, 17, 18, 19), _TEENS.get(language, "")))
        for value, forms in zip(values, listed.split(" "), strict=False)
        if forms
    }
    for language, words in _WORDS.items()
}
_SCALES = {
    10**3: (
        "thousand tausend tsd mille mil mila тысяч тысячи тысяча тыс tys tysięcy tysiące tysiąc bin duizend tusen "
        "ألف آلاف אלף אלפים हज़ार हजार พัน 千 천 k"
    ),
    10**4: "万 萬 만 หมื่น",
    10**5: "lakh lakhs लाख แสน",
    10**6: (
        "million millions mio millionen millones millón milhão milhões milione milioni mln miljoen miljoner milyon "
        "миллион миллиона миллионов млн milion miliony milionów مليون ملايين מיליון מיליוני मिलियन ล้าน 百万 백만 "
        "triệu juta"
    ),
    10**7: "crore crores करोड़ 千万 천만 สิบล้าน",
    10**8: "億 亿 억 ร้อยล้าน",
    10**9: (
        "billion billions bn milliarde milliarden mrd milliard milliards bilhão bilhões miliardo miliardi mld "
        "miljard miljarder milyar миллиард миллиарда миллиардов млрд miliard miliardy miliardów مليار مليارات "
        "מיליארד מיליארדי अरब พันล้าน 十億 十亿 십억 tỷ miliar"
    ),
    10**12: "trillion trillions billionen billones billón biliões трлн триллион триллиона триллионов 兆 조",
}
SCALES: Mapping[str, int] = {word: value for value, words in _SCALES.items() for word in words.split()}
"""{word behind a number: by what it multiplies the number}."""
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SEMITIC = re.compile(r"[\u0590-\u06ff]")


def stands_in_words(value: int, text: str, language: str) -> bool:
    """Returns whether the text may have the number as words; `a` or no word at all may stand for 1.

    In a language without a list, a small number may be there in words.
    """
    if value <= 1:
        return True
    words = NUMBER_WORDS.get(language)
    if words is None:
        return value <= 12
    if value < 12 and re.search(r"\b(?:halb|half|halv)\b", text, re.IGNORECASE) and _has_number(value + 1, text, words):
        return True  # `halb neun` is 8:30
    return any(all(_has_number(part, text, words) for part in parts) for parts in _compositions(value))


def _compositions(value: int) -> list[tuple[int, ...]]:
    """Returns the ways to put a number together from the words of the list: 42 is 40 and 2, 2000 is 2 and 1000."""
    ways: list[tuple[int, ...]] = [(value,)]
    ways += [(value // power, power) for power in (100, 1000) if value % power == 0 and 1 < value // power < 100]
    if 10 < value < 100:
        ways.append((value - value % 10, value % 10))
    return ways


def _has_number(value: int, text: str, words: Mapping[int, tuple[str, ...]]) -> bool:
    return any(_has_word(word, text) for word in words.get(value, ()))


def _has_word(word: str, text: str) -> bool:
    """Returns whether a word of the text begins with this stem, or, for a long stem, has it anywhere."""
    word = word.replace("\xa0", " ")
    if _UNSPACED.search(word):
        return word in text
    if len(word) >= 5:
        return word in text.lower()
    prefix = r"[והבלכמשولفبك]{0,2}(?:ال)?" if _SEMITIC.match(word) else ""
    return re.search(rf"(?<!\w){prefix}{re.escape(word)}", text, re.IGNORECASE) is not None
