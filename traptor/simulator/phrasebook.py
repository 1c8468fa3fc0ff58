"""What synthetic people write, who they are and where: by language, in several scripts."""

from traptor.tweets.matching import Box

SENTENCES = {
    "en": [
        "The rain stopped just in time for the market this morning.",
        "Does anyone know why the last train is always late on Fridays?",
        "Salt & pepper, that's all it needs.",
        "Reading on the balcony until the light goes.",
        "I keep telling them: 3 < 5 and nobody believes me!",
        "We walked along the river for two hours and met exactly one dog.",
        "First tomatoes of the year, small but ours.",
        "My neighbour plays the same four chords every evening and honestly it is growing on me.",
        "Half the team is ill, so today the other half makes the coffee.",
        "The museum is free on the first Sunday of the month, go early.",
    ],
    "es": [
        "Mañana empieza la feria y todavía no hemos pintado la caseta.",
        "¿Quién se apunta a un café después del trabajo?",
        "El niño aprendió a montar en bicicleta en una sola tarde.",
    ],
    "fr": [
        "Le marché était plein, même sous la pluie.",
        "Qui a encore laissé la fenêtre ouverte toute la nuit ?",
        "Un été très long, et déjà l’odeur des pommes.",
    ],
    "de": [
        "Heute früh war der See spiegelglatt und völlig leer.",
        "Warum fährt der Bus eigentlich nie, wenn es schneit?",
        "Größere Brötchen gibt es nur samstags.",
    ],
    "ru": ["Сегодня утром над рекой стоял густой туман.", "Кто знает, где в городе самый вкусный хлеб?"],
    "ar": ["كان البحر هادئا هذا الصباح.", "من يعرف مقهى جيدا قرب المحطة؟"],
    "ja": ["今朝は川沿いを散歩して、犬に一匹会いました。", "駅前の新しい本屋がとても静かで好きです。"],
    "zh": ["今天早上的集市很热闹。", "谁知道附近哪里有好吃的面包?"],
    "ko": ["오늘 아침 강가는 아주 조용했습니다.", "역 앞 빵집이 새로 문을 열었어요."],
    "hi": ["आज सुबह नदी के किनारे बहुत शांति थी।", "स्टेशन के पास अच्छी चाय कहाँ मिलती है?"],
}
LANGUAGE_WEIGHTS = {"en": 60, "es": 12, "fr": 8, "de": 6, "ru": 3, "ar": 3, "ja": 4, "zh": 1, "ko": 2, "hi": 1}

EMOJI = ("😀", "🌟", "🌧️", "🚲", "👩‍🌾", "🇫🇷", "☕", "👍🏽")
HASHTAGS = ("morning", "slowfood", "BikeLife", "été2021", "сад", "散歩", "reading", "oldtown")
CASHTAGS = ("ACME", "BRK.B", "XMPL")
SITES = ("example.com", "www.example.org", "news.example.net", "blog.example.com")
PATHS = (
    "2021/01/26/quiet-streets",
    "recipes/tomato-soup?servings=4",
    "a/long-read-about-rivers-and-bridges#part-2",
    "",
)
NAMES = ("Ana Ribeiro", "Jonas K.", "Мария Л.", "山田 はな", "Fatima ✨", "O'Neil & Co", "Café Central", "Priya S")
SCREEN_NAMES = ("ana_writes", "jonask", "maria_l", "hana_y", "fatima_reads", "oneil_and_co", "cafecentral", "priya_s")
PROFILES = (
    "Bread, books and bicycles. Views are my own, the cat's are not.",
    "Gärtnerin, Mutter, manchmal beides zugleich 🌱",
    "本とコーヒー。",
    "Reporter at a small paper. Tips welcome, patience appreciated. She/her. https://t.co/aB3dE5fG7h",
    None,
)
SOURCES = (
    '<a href="https://mobile.twitter.com" rel="nofollow">Twitter Web App</a>',
    '<a href="http://twitter.com/download/iphone" rel="nofollow">Twitter for iPhone</a>',
    '<a href="http://twitter.com/download/android" rel="nofollow">Twitter for Android</a>',
)
PLACES = (
    ("São Paulo", "Brazil", "BR", Box(-46.83, -24.01, -46.36, -23.36)),
    ("Riverside", "United States", "US", Box(-117.52, 33.85, -117.27, 34.02)),
    ("Lyon", "France", "FR", Box(4.77, 45.71, 4.9, 45.81)),
    ("大阪市", "日本", "JP", Box(135.37, 34.59, 135.6, 34.77)),
)
"""Name, country, country code, and box."""
