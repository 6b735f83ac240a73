"""Lists the most frequent words of languages, by which a text is recognised."""

from collections.abc import Mapping

_LISTS = {
    "en": (
        "the of and to in is you that it he was for on are as with his they at be this have from or had by not but "
        "what all were we when your can said there an which their if will do each about how up out them then she "
        "many some so these would other has her him than been who its now did get may our was please i my me am us "
        "no"
    ),
    "de": (
        "der die das und ist nicht ein eine einen einem einer eines zu den dem des mit auf für von im sich auch es "
        "an werden aus er hat dass sie nach bei um noch wie über so zum war haben nur oder aber vor zur bis mehr "
        "durch man wird sein ich wir ihr ihre ihren ihrem ihrer uns wenn kann können bitte als am vom sind dieser "
        "diese dieses keine mein dein was"
    ),
    "fr": (
        "le la les de des du un une et est en que qui dans ce il pour pas sur au plus par ne se avec sont nous "
        "vous mais ou si leur elle tout cette ces comme être aux son ses sa votre vos notre nos je on a été peut "
        "fait merci lorsque chez c'est d l qu n s ont très bien même"
    ),
    "es": (
        "el la los las de del y en que a un una es por con no para se su al lo como más pero sus le ya o este sí "
        "porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno "
        "les ni contra otros ese eso ante ellos e esto usted ustedes está son ha han fue ser tiene puede gracias "
        "favor antes mi tu"
    ),
    "pt": (
        "o a os as de do da dos das e em no na nos nas que um uma é por com não para se seu sua ao à às aos mais "
        "mas como foi ele ela tem ser quando muito há já está eu também só pelo pela até isso entre depois sem "
        "mesmo seus suas quem me esse essa eles você vocês são este esta isto ou favor obrigado pode ainda antes"
    ),
    "it": (
        "il lo la i gli le di del della dei delle dello e è in un una uno che per non con si da al alla ai alle "
        "nel nella sono come più ma anche se ha suo sua loro questo questa ci ne su sul sulla dal dalla o quando "
        "essere stato stata hanno molto ogni tutti tutto io mi noi voi tra fra poi grazie prego vostro nostro "
        "prima può"
    ),
    "nl": (
        "de het een en van in is dat op te zijn met voor niet aan er die ook als bij maar om dan ze hij was door "
        "naar wat heeft uit of worden nog wordt kan meer ik je u uw deze dit tot over hebben we zal wel geen had "
        "mijn onze ons hun moet al zo"
    ),
    "sv": (
        "och att det i en är på som av för med den till inte om har de ett han men var jag du vi kan så från när "
        "nu man eller sig hade skulle ska vid efter även mycket alla din ditt dina vår våra er ert era mig oss dem "
        "vad hur här där blir detta dessa tack innan"
    ),
    "da": (
        "og at det i en er på som af for med den til ikke om har de et han men var jeg du vi kan så fra når nu man "
        "eller sig havde skulle skal ved efter også meget alle din dit dine vores jer mig os dem hvad hvor her der "
        "bliver dette disse tak inden være blev hun"
    ),
    "no": (
        "og at det i en er på som av for med den til ikke om har de et han men var jeg du vi kan så fra når nå man "
        "eller seg hadde skulle skal ved etter også mye alle din ditt dine vår våre dere meg oss dem hva hvor her "
        "der blir dette disse takk før være ble hun"
    ),
    "fi": (
        "ja on ei se että en ole hän mutta joka kun niin ovat oli jos tai myös kuin mitä ne voi vain sen tämä "
        "tämän minä sinä me te he olla ennen kanssa sekä jo vielä nyt mukaan koska kaikki siitä tästä teidän "
        "meidän kiitos voit"
    ),
    "pl": (
        "i w na z się nie do to że jest a o jak po ale od za co przez dla są czy tak już ich tylko jego jej lub "
        "przed oraz być może ma które który która można było był była ten ta te tego tej pan pani proszę dziękuję "
        "we ze nas mi mnie my wy gdy także jeszcze"
    ),
    "cs": (
        "a v na se je že to s z o do i ve pro jsou jako ale za by od k po tak si podle který která které jeho její "
        "nebo při už být bude byl byla bylo než jen také až má může jste jsme prosím děkuji před tento tato není "
        "vás nás vám"
    ),
    "ro": (
        "și de la în a cu pe nu că o un este din care să mai se pentru sau au ca fi sunt dar cum prin lui ei fost "
        "după dacă către până al ale lor acest această vă dumneavoastră vom foarte tot când mulțumim înainte am "
        "ați noi"
    ),
    "hu": (
        "a az és hogy nem is egy van ez ki meg de ha csak vagy mint el már még minden volt fel be kell lehet után "
        "között mert azt ezt én ön önnek kérjük előtt nagyon akkor majd lesz illetve valamint"
    ),
    "tr": (
        "ve bir bu için ile de da çok daha olarak ne gibi kadar sonra en ama var mı o olan ki ya her değil veya "
        "göre tarafından ise yok size sizin lütfen siz ben biz önce olduğu oldu olacak şey kendi nasıl bunu buna"
    ),
    "id": (
        "yang dan di untuk dengan dari ini itu pada tidak akan ke dalam anda adalah kami bisa atau juga oleh sudah "
        "saya ada karena telah lebih dapat sebagai mereka kita jika agar setelah sebelum silakan terima kasih "
        "harus saat bahwa tersebut hanya"
    ),
    "vi": (
        "và của là có được cho trong không một các với này những đã để người tôi bạn từ khi đến tại vào sẽ về như "
        "phải quý vui lòng trước sau nếu hoặc cũng ra chúng rất nhưng theo còn"
    ),
    "ca": (
        "el la els les de del i en que a un una és per amb no al es més com però seu seva aquest aquesta o també "
        "són ha han quan sobre entre fins ser molt si us plau gràcies abans després tot tots"
    ),
    "ru": (
        "и в не на что я он с как это по но из у за от так же о для к все вы бы мы они она быть его ее её или если "
        "уже при до когда только может вас ваш ваша вам чтобы этот эта эти был была были есть нет мне меня "
        "пожалуйста который которые также после перед со во"
    ),
    "uk": (
        "і в не на що я він з як це по але із у за від так же про для до все ви би ми вони вона бути його її або "
        "якщо вже при коли тільки може вас ваш вам щоб цей ця ці був була були є ні мені мене будь ласка який які "
        "також після перед та"
    ),
    "bg": (
        "и в не на че аз той с като това по но от за до се да са ще вие ние те тя го или ако вече при когато само "
        "може ви ваш ваша този тази тези беше бяха е няма моля който които също след преди си има"
    ),
    "ar": (
        "في من على إلى أن لا ما هذا هذه مع عن كان التي الذي قد هو هي كل بعد قبل أو إذا لم لن كما بين ذلك تم يتم "
        "يرجى حتى عند ثم أي نحن أنت لدى لك هل غير وقد وفي إن لقد"
    ),
    "fa": (
        "و در به از که این را با است برای آن یک می تا شما بر خود هم ما باید شده کرد شد اگر یا نیز های بود قبل پس "
        "هر لطفا لطفاً کنید دارد هستند"
    ),
    "ur": (
        "کے میں کی ہے اور سے کا کو اس کہ پر نے ہیں یہ بھی آپ تو کر ہو نہیں ایک جو وہ کیا گیا لیے تھا اپنے ہم یا "
        "براہ کرم پہلے بعد"
    ),
    "hi": (
        "के में की है और से का को यह इस पर ने हैं कि भी आप तो कर हो नहीं एक जो वह किया गया लिए था अपने हम या कृपया "
        "पहले बाद रहा होता करें हमारे आपके"
    ),
    "mr": (
        "आणि आहे या ते च की हे ही तर मध्ये आहेत होते नाही करा कृपया साठी आपण आपल्या एक हा तो ती व पण झाले केले जाते किंवा आधी नंतर"
    ),
}
STOP_WORDS: Mapping[str, frozenset[str]] = {language: frozenset(words.split()) for language, words in _LISTS.items()}
ANY_STOP_WORD: frozenset[str] = frozenset().union(*STOP_WORDS.values())
SIMPLIFIED_ONLY = frozenset(
    "们这来对说时为个国学会过还发开门问间见关东车书长马鸟鱼龙风飞电话语请谢让认识设许该详谁调谈议论证评试购贵费货质责账单业务义乡两严丧临举么乐习买乱争亏云产亲价众优传伤体"
)
TRADITIONAL_ONLY = frozenset(
    "們這來對說時為個國學會過還發開門問間見關東車書長馬鳥魚龍風飛電話語請謝讓認識設許該詳誰調談議論證評試購貴費貨質責賬單業務義鄉兩嚴喪臨舉麼樂習買亂爭虧雲產親價眾優傳傷體"
)
"""Characters of one form of Chinese alone."""
_CLOSE = (
    frozenset({"da", "no", "nb", "nn", "sv"}),
    frozenset({"id", "ms"}),
    frozenset({"hr", "sr", "bs"}),
    frozenset({"ca", "es"}),
)


def primary(tag: str | None) -> str:
    """Returns the language of a BCP 47 tag under the name of these lists; "" without a tag."""
    language = (tag or "").lower().split("-")[0]
    return {"nb": "no", "nn": "no", "cmn": "zh", "tl": "fil"}.get(language, language)


def are_close(one: str, other: str) -> bool:
    """Returns whether the lists cannot tell the two languages apart."""
    return one == other or any({one, other} <= group for group in _CLOSE)
