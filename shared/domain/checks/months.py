"""Names the months in the languages that the check of dates reads, as inflected forms and abbreviations too."""

from collections.abc import Mapping

_NAMES = {
    "en": (
        "january/jan february/feb march/mar april/apr may june/jun july/jul august/aug september/sept/sep "
        "october/oct november/nov december/dec"
    ),
    "de": (
        "januar/jänner/jan februar/feber/feb märz/mrz april/apr mai juni/jun juli/jul august/aug "
        "september/sept/sep oktober/okt november/nov dezember/dez"
    ),
    "fr": (
        "janvier/janv février/févr/fév mars avril/avr mai juin juillet/juil août septembre/sept octobre/oct "
        "novembre/nov décembre/déc"
    ),
    "es": (
        "enero/ene febrero/feb marzo/mar abril/abr mayo/may junio/jun julio/jul agosto/ago "
        "septiembre/setiembre/sept/sep octubre/oct noviembre/nov diciembre/dic"
    ),
    "pt": (
        "janeiro/jan fevereiro/fev março/mar abril/abr maio/mai junho/jun julho/jul agosto/ago setembro/set "
        "outubro/out novembro/nov dezembro/dez"
    ),
    "it": (
        "gennaio/gen febbraio/feb marzo/mar aprile/apr maggio/mag giugno/giu luglio/lug agosto/ago "
        "settembre/sett/set ottobre/ott novembre/nov dicembre/dic"
    ),
    "nl": (
        "januari/jan februari/feb maart/mrt april/apr mei juni/jun juli/jul augustus/aug september/sept/sep "
        "oktober/okt november/nov december/dec"
    ),
    "sv": (
        "januari/jan februari/feb mars april/apr maj juni/jun juli/jul augusti/aug september/sept/sep oktober/okt "
        "november/nov december/dec"
    ),
    "da": (
        "januar/jan februar/feb marts/mar april/apr maj juni/jun juli/jul august/aug september/sept/sep "
        "oktober/okt november/nov december/dec"
    ),
    "no": (
        "januar/jan februar/feb mars april/apr mai juni/jun juli/jul august/aug september/sept/sep oktober/okt "
        "november/nov desember/des"
    ),
    "pl": (
        "stycznia/styczeń/sty lutego/luty/lut marca/marzec/mar kwietnia/kwiecień/kwi maja/maj czerwca/czerwiec/cze "
        "lipca/lipiec/lip sierpnia/sierpień/sie września/wrzesień/wrz października/październik/paź "
        "listopada/listopad/lis grudnia/grudzień/gru"
    ),
    "cs": (
        "ledna/leden února/únor března/březen dubna/duben května/květen června/červen července/červenec "
        "srpna/srpen září října/říjen listopadu/listopad prosince/prosinec"
    ),
    "ru": (
        "января/январь/янв февраля/февраль/февр/фев марта/март/мар апреля/апрель/апр мая/май июня/июнь/июн "
        "июля/июль/июл августа/август/авг сентября/сентябрь/сент/сен октября/октябрь/окт ноября/ноябрь/нояб "
        "декабря/декабрь/дек"
    ),
    "uk": (
        "січня/січень лютого/лютий березня/березень квітня/квітень травня/травень червня/червень липня/липень "
        "серпня/серпень вересня/вересень жовтня/жовтень листопада/листопад грудня/грудень"
    ),
    "tr": (
        "ocak/oca şubat/şub mart/mar nisan/nis mayıs/may haziran/haz temmuz/tem ağustos/ağu eylül/eyl ekim/eki "
        "kasım/kas aralık/ara"
    ),
    "ar": (
        "يناير فبراير مارس أبريل/ابريل/إبريل مايو يونيو/يونيه يوليو/يوليه أغسطس/اغسطس سبتمبر أكتوبر/اكتوبر نوفمبر "
        "ديسمبر"
    ),
    "he": "ינואר פברואר מרץ/מרס אפריל מאי יוני יולי אוגוסט ספטמבר אוקטובר נובמבר דצמבר",
    "hi": ("जनवरी फ़रवरी/फरवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर/सितम्बर अक्टूबर/अक्तूबर नवंबर/नवम्बर दिसंबर/दिसम्बर"),
    "th": (
        "มกราคม/ม.ค. กุมภาพันธ์/ก.พ. มีนาคม/มี.ค. เมษายน/เม.ย. พฤษภาคม/พ.ค. มิถุนายน/มิ.ย. กรกฎาคม/ก.ค. "
        "สิงหาคม/ส.ค. กันยายน/ก.ย. ตุลาคม/ต.ค. พฤศจิกายน/พ.ย. ธันวาคม/ธ.ค."
    ),
    "id": (
        "januari/jan februari/feb maret/mar april/apr mei juni/jun juli/jul agustus/agu september/sep oktober/okt "
        "november/nov desember/des"
    ),
    "el": (
        "ιανουαρίου/ιανουάριος φεβρουαρίου/φεβρουάριος μαρτίου/μάρτιος απριλίου/απρίλιος μαΐου/μάιος "
        "ιουνίου/ιούνιος ιουλίου/ιούλιος αυγούστου/αύγουστος σεπτεμβρίου/σεπτέμβριος οκτωβρίου/οκτώβριος "
        "νοεμβρίου/νοέμβριος δεκεμβρίου/δεκέμβριος"
    ),
}
"""{language: the months in order, each with its forms}."""
MONTHS: Mapping[str, Mapping[str, int]] = {
    language: {form: number for number, forms in enumerate(names.split(), 1) for form in forms.split("/")}
    for language, names in _NAMES.items()
}
"""{language: {form in small letters: number of the month}}."""
WITH_NUMBERED_MONTHS = frozenset({"ja", "zh", "ko", "vi", "yue"})
"""Languages that count their months: 3月, 3월, tháng 3."""
