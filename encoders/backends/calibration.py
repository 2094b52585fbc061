"""The texts by which a model is quantised: always the same, so that a model is quantised in one way, whatever the job loads.

They were written for this purpose: prose, lists, code, numbers and names, in several languages, short and long.
"""

SENTENCES = (
    "The ferry leaves the harbour at twenty past six and reaches the island before dark.",
    "Returns a new list that contains the items of the old one in reverse order.",
    "Our refund policy: goods may be sent back within 30 days, unworn and in their box.",
    "She tuned the violin by ear, then checked it against the piano.",
    "Error 404: the page /docs/install.html was not found on this server.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "def area(width: float, height: float) -> float: return width * height",
    "Die Bibliothek ist wegen Umbaus bis zum 3. März geschlossen.",
    "Add two eggs, 250 g of flour and a pinch of salt; stir until smooth.",
    "How do I reset the password of an account whose e-mail address has changed?",
    "The court held that the contract was void, since one party had been misled.",
    "Patients over 65 showed a lower response rate (41 % against 58 %, p = 0.03).",
    "Stainless steel bolt, M8 x 40, hexagon head, pack of fifty.",
    "Le train de nuit pour Marseille part du quai numéro sept.",
    "Interest rates rose by a quarter of a point, and shares in banks fell.",
    "A lightweight daemon that rotates log files and mails them to the administrator.",
    "The old weaver counted the threads aloud, as her mother had done.",
    "SELECT name, price FROM products WHERE stock > 0 ORDER BY price DESC;",
    "Galaxies in this cluster recede from us at some 7,000 kilometres a second.",
    "Great shoes, but they run half a size small. Four stars.",
    "El museo abre de martes a domingo, de diez a seis.",
    "If the lamp blinks twice, press the button for five seconds to pair it again.",
    "In 1683 the siege was lifted after two months, and the army withdrew.",
    "The committee meets on the first Monday of each month in room 204.",
    "Raises ValueError if the file is not open, or was opened for writing only.",
    "Wolves travel up to fifty kilometres in a night, mostly along rivers.",
    "Il contratto di affitto scade alla fine dell'anno e si rinnova da solo.",
    "Cloudy with some rain in the north; up to 14 degrees; a light wind from the west.",
    "The goalkeeper saved two penalties, and the visitors won by three to two.",
    "Command line parser: options, arguments, subcommands and generated help.",
    "東京の桜は三月の末に咲き始めます。",
    "Thank you for your letter of 12 May; I am sorry for the late reply.",
    "The enzyme cuts the strand at a specific sequence of six bases.",
    "Bluetooth headphones, noise cancelling, 30 hours of battery, black.",
    "He said nothing, folded the map, and walked on towards the pass.",
    "To build from source, run configure, then make, then make install as root.",
    "A triangle whose sides are 3, 4 and 5 units long has a right angle.",
    "O mercado abre cedo e fecha antes do calor do meio-dia.",
    "The museum's new wing holds pottery, coins and tools from the Bronze Age.",
    "Unemployment fell to 4.1 per cent, the lowest figure since records began.",
    '{"id": 17, "status": "shipped", "items": ["lamp", "cable"]}',
    "Why does bread rise faster in summer than in winter?",
    "Store in a cool, dry place. Keep out of reach of children.",
    "The second movement is slow, for strings alone, and ends without a cadence.",
    "Поезд прибывает на первый путь через пять минут.",
    "Each thread has a queue of its own, so that no lock is needed to take a task.",
    "Two-bedroom flat with balcony, third floor, no lift, close to the tram.",
    "The treaty was signed by nine states and came into force a year later.",
    "ok",
    "Who wrote the song that plays at the end of the film?",
    "Dust the chair rails, wax the floor, and air the room for a day.",
    "Basalt is a dark, fine-grained rock that forms when lava cools quickly.",
)
TEXTS = 96
LENGTHS = (1, 1, 2, 1, 3, 2, 5, 1, 8, 2, 1, 14, 3, 1, 2, 24)  # sentences of a text: mostly short, a few over any usual limit


def calibration_texts() -> list[str]:
    """Nearly TEXTS different texts of one to two dozen sentences; each sentence stands in several."""
    lengths = [LENGTHS[i % len(LENGTHS)] for i in range(TEXTS)]
    starts = [sum(lengths[:i]) for i in range(TEXTS)]
    made = (" ".join(SENTENCES[(s + k) % len(SENTENCES)] for k in range(n)) for s, n in zip(starts, lengths, strict=True))
    return list(dict.fromkeys(made))
