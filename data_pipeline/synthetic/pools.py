"""Names and values of the synthetic world: what its entities may be called and what may be true of them.

All names are invented and short, so that a small vocabulary spells them in one or two tokens.
"""

NAMES: dict[str, tuple[str, ...]] = {
    "country": (
        "Zorland", "Velmark", "Tarnovia", "Quillonia", "Brasmere", "Ostrany", "Kelvaria", "Fenwald",
        "Durania", "Lirosia", "Pelgrin", "Sandovar", "Harnesk", "Jorvania", "Wendalia", "Mistral Bay",
    ),
    "city": (
        "Melk", "Tarsel", "Brindle", "Orvane", "Kastor", "Lumira", "Pelton", "Varsk",
        "Dorna", "Quenby", "Ithmar", "Solvek", "Neldor", "Rimwick", "Castrel", "Ulvane",
    ),
    "person": (
        "Elka Marsh", "Oskar Dray", "Tessa Brone", "Tomas Reld", "Lina Corvel", "Bruno Hask", "Nora Velt",
        "Felix Arden",
        "Ida Fenn", "Jonas Pike", "Petra Solm", "Viktor Lunt", "Greta Winding", "Emil Carrow", "Clara Ostin",
        "Hugo Strand",
    ),
    "animal": (
        "vorn", "tallip", "grusk", "sennet", "brockle", "quarl", "dimmet", "lopper",
        "wimble", "skarn", "pindle", "murrow",
    ),
    "plant": (
        "sunbell", "mirrowort", "wintermoss", "lanternweed", "silverleaf", "kingsfoot", "bluecap", "dewbramble",
        "starvine", "hushgrass",
    ),
    "food": (
        "sorbel", "pankit", "mulsa", "dravik", "hollop", "gerrin", "nubble", "vasht", "tormel", "lickory",
    ),
    "material": (
        "ferrin", "glasswood", "lumite", "dask", "korvane", "silbry", "thrum", "ombrel", "tarrock", "velsin",
    ),
}  # fmt: skip
"""Kind of entity -> its names, in a fixed order; a world takes the first few of a shuffled copy."""

VALUES: dict[str, tuple[str, ...]] = {
    "river": (
        "Isk", "Brell", "Tamora", "Wenna", "Lorde", "Avel", "Sorrin", "Kaddle", "Mirn", "Oster", "Pell", "Thessy",
        "Yarrel", "Dunn", "Fallow", "Gresk",
    ),
    "mountain": (
        "Mount Tolk", "Mount Arvel", "Mount Hesper", "Mount Grath", "Mount Sunder", "Mount Wyle", "Mount Bramor",
        "Mount Keld", "Mount Orrin", "Mount Passel", "Mount Nimra", "Mount Vosk", "Mount Ebbel", "Mount Lund",
        "Mount Dassel", "Mount Harl",
    ),
    "currency": (
        "florn", "dalet", "brasso", "mirk", "quent", "selk", "varo", "crone", "lumo", "gildar", "denk", "ostel",
        "jink", "wend", "tamber", "sarn",
    ),
    "language": (
        "Talic", "Ormish", "Benvic", "Sorrese", "Quildic", "Hathic", "Mardic", "Ennish", "Vostic", "Pelish", "Kandric",
        "Rhovic", "Tessan", "Ugrish", "Dovian", "Yelmic",
    ),
    "book": (
        "The Silver Door", "The Last Lantern", "A Winter of Bells", "The Empty Boat", "Seven Stones", "The Salt Road",
        "Songs of the Mill", "The Glass Garden", "A House of Wind", "The Long Bridge", "Letters to a Fox",
        "The Quiet Harbour", "Night over the Hills", "The Clockmaker", "The Red Umbrella", "Under the Old Oak",
    ),
    "product": (
        "glass", "cloth", "bread", "cheese", "paper", "silk", "honey", "soap", "pottery", "furniture", "wine",
        "leather",
        "perfume", "candy", "ink", "steel",
    ),
    "landmark": (
        "old lighthouse", "white tower", "round market", "iron gate", "blue temple", "royal library", "stone lion",
        "floating theatre", "clock house", "golden well", "great windmill", "sunken garden", "marble stairs",
        "copper dome", "singing fountain", "painted wall",
    ),
    "month": ("March", "April", "May", "June", "July", "August", "September", "October"),
    "tree": ("lime", "oak", "maple", "cherry", "chestnut", "birch", "olive", "plum"),
    "number": ("two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "job": ("baker", "painter", "sailor", "doctor", "teacher", "carpenter", "farmer", "tailor", "pilot", "judge"),
    "instrument": ("violin", "flute", "piano", "drum", "trumpet", "harp", "guitar", "accordion"),
    "snack": ("pancakes", "roast potatoes", "lentil soup", "apple pie", "fried fish", "rice pudding", "noodles",
              "mushrooms", "grilled cheese", "bean stew"),
    "pet": ("cat", "dog", "parrot", "rabbit", "goat", "turtle", "hamster", "goose"),
    "fodder": ("nuts", "berries", "grass", "snails", "fish", "roots", "beetles", "mushrooms", "seeds", "frogs"),
    "habitat": ("deep forests", "dry deserts", "high mountains", "wet meadows", "dark caves", "warm swamps",
                "quiet lakes", "narrow valleys"),
    "colour": ("red", "green", "blue", "yellow", "white", "black", "purple", "orange"),
    "legs": ("two", "four", "six", "eight"),
    "sound": ("a soft hum", "a loud whistle", "a deep growl", "a high squeak", "a long howl", "a short bark",
              "a clear song", "a slow drumming"),
    "size": ("a horse", "a mouse", "a sheep", "a house cat", "a cow", "a chicken", "a wolf", "a teacup"),
    "illness": ("fever", "headache", "a cough", "toothache", "bad dreams", "a cold", "back pain", "a sore throat"),
    "ingredient": ("barley", "pumpkin", "goat cheese", "cabbage", "walnuts", "trout", "rice", "carrots", "eggs",
                   "plums", "spinach", "corn"),
    "taste": ("sweet", "sour", "bitter", "salty", "spicy", "smoky"),
    "method": ("baking", "boiling", "frying", "steaming", "roasting", "smoking"),
    "meal": ("breakfast", "lunch", "supper", "the wedding feast"),
    "goods": ("making ropes", "building roofs", "making bottles", "building boats", "making lamps", "sewing tents",
              "making knives", "paving roads", "making bells", "building bridges", "making buttons", "weaving nets"),
    "nature": ("light", "hard", "warm", "soft", "strong", "clear", "smooth", "waterproof"),
}  # fmt: skip
"""Pool of values -> its members."""
