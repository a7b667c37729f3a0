"""What the small model can draw: every subject class, the words for it and the font's pictures of it.

A class is recognised as one thing by the classifier ("flowers"), answers to several generic words ("flower",
"blossom") and owns one or more sprites. A sprite may have words of its own ("tulip") that ask for exactly it.
Knows no pixels: `prepare_data.py` turns code points into sprites, `scenes.py` turns classes into pictures.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sprite:
    codepoint: int
    words: tuple[str, ...]  # singular words that ask for this very sprite; may be empty
    group: bool = False  # the picture already shows several, so a plural word may ask for it alone


@dataclass(frozen=True)
class SubjectClass:
    name: str
    words: tuple[str, ...]  # generic singular words; the first is the canonical one
    places: tuple[str, ...]  # where it stands when the caption names no background; keys of scenes.PLACES
    sprites: tuple[Sprite, ...]


IRREGULAR_PLURALS = {
    "mouse": "mice", "sheep": "sheep", "fish": "fish", "bus": "buses", "cherry": "cherries", "strawberry": "strawberries",
    "bunny": "bunnies", "butterfly": "butterflies", "puppy": "puppies", "cactus": "cacti", "lady": "ladies",
    "goldfish": "goldfish", "grapes": "grapes", "piglet": "piglets", "ladybug": "ladybugs", "lotus": "lotuses",
    "octopus": "octopuses", "hibiscus": "hibiscuses", "berry": "berries", "flowers": "flowers",
    "blowfish": "blowfish", "fox": "foxes", "box": "boxes", "torch": "torches", "ostrich": "ostriches", "peach": "peaches",
    "cherries": "cherries", "bunch of grapes": "bunches of grapes", "bouquet of flowers": "bouquets of flowers",
    "bunch of flowers": "bunches of flowers", "cup of coffee": "cups of coffee", "cup of tea": "cups of tea",
    "slice of watermelon": "slices of watermelon", "bicycle": "bicycles", "cherry blossom": "cherry blossoms",
}


def plural(word: str) -> str:
    return IRREGULAR_PLURALS.get(word, word + "s")


def _class(name: str, words: str, places: str, *sprites: tuple) -> SubjectClass:
    """`words` and `places` are comma lists; a sprite is (character, comma list of its own words[, group])."""
    split = lambda text: tuple(part.strip() for part in text.split(",") if part.strip())
    return SubjectClass(
        name, split(words), split(places),
        tuple(Sprite(ord(sprite[0][0]), split(sprite[1]), len(sprite) > 2 and sprite[2]) for sprite in sprites),
    )


GROUND = "meadow,hills,plain"
AIR = "sky,plain"
TABLE = "plain"

CLASSES: tuple[SubjectClass, ...] = (
    _class("flowers", "flower,blossom", GROUND,
           ("💐", "bouquet,bouquet of flowers,bunch of flowers,flowers", True), ("🌷", "tulip"), ("🌹", "rose,red rose"),
           ("🌻", "sunflower"), ("🌸", "cherry blossom,pink flower"), ("🌺", "hibiscus"), ("🌼", "daisy,yellow flower")),
    _class("rabbit", "rabbit,bunny,hare", GROUND, ("🐇", ""), ("🐰", "rabbit face")),
    _class("boat", "boat", "sea,sea,lake", ("⛵", "sailboat,sailing boat"), ("🚤", "speedboat,motorboat"), ("🛶", "canoe")),
    _class("ship", "ship", "sea", ("🚢", "steamer"), ("⛴", "ferry")),
    _class("tree", "tree", "meadow,hills,lake", ("🌳", "willow,willow tree,oak,oak tree"), ("🌲", "pine,pine tree,fir")),
    _class("palm tree", "palm tree,palm", "desert,beach", ("🌴", "")),
    _class("house", "house,home", "meadow,hills,snow", ("🏠", "cottage"), ("🏡", "house with a garden")),
    _class("castle", "castle", "hills,meadow", ("🏰", "")),
    _class("mountain", "mountain", "meadow,snow,plain", ("🏔", "snowy mountain"), ("🗻", "volcano")),
    _class("tent", "tent", "meadow,hills,night", ("⛺", "")),
    _class("sun", "sun", AIR, ("☀", ""), ("🌞", "smiling sun")),
    _class("moon", "moon", "night,space,plain", ("🌙", "crescent moon,crescent"), ("🌕", "full moon")),
    _class("star", "star", "night,space,plain", ("⭐", "")),
    _class("cloud", "cloud", AIR, ("☁", "")),
    _class("rainbow", "rainbow", AIR, ("🌈", "")),
    _class("cat", "cat,kitten", GROUND, ("🐈", ""), ("🐱", "cat face")),
    _class("dog", "dog,puppy", GROUND, ("🐕", ""), ("🐶", "dog face"), ("🐩", "poodle")),
    _class("horse", "horse,pony", GROUND, ("🐎", ""), ("🐴", "horse face")),
    _class("cow", "cow", GROUND, ("🐄", ""), ("🐮", "cow face")),
    _class("pig", "pig", GROUND, ("🐖", ""), ("🐷", "pig face")),
    _class("sheep", "sheep,lamb", GROUND, ("🐑", "")),
    _class("elephant", "elephant", "desert,meadow,plain", ("🐘", "")),
    _class("lion", "lion", "desert,plain", ("🦁", "")),
    _class("tiger", "tiger", "meadow,plain", ("🐅", ""), ("🐯", "tiger face")),
    _class("panda", "panda", GROUND, ("🐼", "")),
    _class("fox", "fox", "meadow,snow,plain", ("🦊", "")),
    _class("frog", "frog", "lake,plain", ("🐸", "")),
    _class("monkey", "monkey", GROUND, ("🐒", ""), ("🐵", "monkey face")),
    _class("mouse", "mouse", GROUND, ("🐁", ""), ("🐭", "mouse face")),
    _class("chicken", "chicken,hen", GROUND, ("🐔", ""), ("🐓", "rooster")),
    _class("duck", "duck", "lake,plain", ("🦆", "")),
    _class("penguin", "penguin", "snow,plain", ("🐧", "")),
    _class("owl", "owl", "night,plain", ("🦉", "")),
    _class("bird", "bird", AIR, ("🐦", ""), ("🦜", "parrot")),
    _class("fish", "fish", "underwater,plain", ("🐟", ""), ("🐠", "tropical fish")),
    _class("whale", "whale", "underwater,sea", ("🐳", "")),
    _class("dolphin", "dolphin", "underwater,sea", ("🐬", "")),
    _class("octopus", "octopus", "underwater,plain", ("🐙", "")),
    _class("crab", "crab", "beach,underwater", ("🦀", "")),
    _class("turtle", "turtle,tortoise", "beach,meadow", ("🐢", "")),
    _class("snail", "snail", GROUND, ("🐌", "")),
    _class("butterfly", "butterfly", GROUND, ("🦋", "")),
    _class("bee", "bee,honeybee", GROUND, ("🐝", "")),
    _class("ladybug", "ladybug,ladybird", GROUND, ("🐞", "")),
    _class("mushroom", "mushroom,toadstool", GROUND, ("🍄", "")),
    _class("cactus", "cactus", "desert,plain", ("🌵", "")),
    _class("apple", "apple", TABLE, ("🍎", "red apple"), ("🍏", "green apple")),
    _class("banana", "banana", TABLE, ("🍌", "")),
    _class("strawberry", "strawberry", TABLE, ("🍓", "")),
    _class("cherries", "cherries", TABLE, ("🍒", "cherry", True)),
    _class("lemon", "lemon", TABLE, ("🍋", "")),
    _class("grapes", "grapes,bunch of grapes", TABLE, ("🍇", "", True)),
    _class("watermelon", "watermelon,slice of watermelon", TABLE, ("🍉", "")),
    _class("pineapple", "pineapple", TABLE, ("🍍", "")),
    _class("carrot", "carrot", TABLE, ("🥕", "")),
    _class("pizza", "pizza", TABLE, ("🍕", "")),
    _class("cake", "cake", TABLE, ("🎂", "birthday cake"), ("🍰", "piece of cake")),
    _class("ice cream", "ice cream", TABLE, ("🍦", "")),
    _class("cup", "cup,cup of coffee,coffee", TABLE, ("☕", "")),
    _class("car", "car", "desert,hills,plain", ("🚗", "red car"), ("🚙", "blue car")),
    _class("bus", "bus", "hills,plain", ("🚌", "")),
    _class("train", "train,locomotive", "hills,plain", ("🚂", "")),
    _class("bicycle", "bicycle,bike", "meadow,plain", ("🚲", "")),
    _class("airplane", "airplane,plane,aeroplane", AIR, ("✈", "")),
    _class("rocket", "rocket,spaceship", "space,night,plain", ("🚀", "")),
    _class("balloon", "balloon", AIR, ("🎈", "red balloon")),
    _class("umbrella", "umbrella", TABLE, ("☂", ""), ("☔", "umbrella in the rain")),
    _class("guitar", "guitar", TABLE, ("🎸", "")),
    _class("heart", "heart", TABLE, ("❤", "red heart"), ("💙", "blue heart"), ("💚", "green heart"), ("💛", "yellow heart"), ("💜", "purple heart")),
    _class("gift", "gift,present", TABLE, ("🎁", "")),
    _class("snowman", "snowman", "snow", ("⛄", "")),
    _class("robot", "robot", "space,plain", ("🤖", "")),
)

CLASS_NAMES: tuple[str, ...] = tuple(subject.name for subject in CLASSES)
SPRITES: tuple[Sprite, ...] = tuple(sprite for subject in CLASSES for sprite in subject.sprites)

# Everyday words no caption uses: they keep the vocabulary from spelling common prompts letter by letter.
GENERAL_WORDS = """
about above across after again air all along also always an and animal another any apart around art as at autumn away baby back bad bag
ball bank bath bear beautiful bed before behind below best better between big black blue board body book both bottom box boy branch bread
bridge bright brown building busy but by camera can candle chair cheerful child children church circle city classic clean clear close cloth
coast coat cold color colorful colour colourful concept cool corner country cozy cute dance dark dawn day deep detailed digital dinner dirty
door down dragon drawing dream dress drink dry dusk early earth east easy eat edge egg eight empty evening every eye fabulous face fairy fall
family famous fantasy far farm fast father feather few field fine fire first five flat floating floor fly flying fog food foot forest four
fresh friend from front fruit full fun funny game garden gate giant girl glass glow glowing going gold golden good grand grass gray great green
grey ground group hair half hand happy hat head heavy high hill hot huge hundred ice illustration image in inside into island its jar jump
jungle king kitchen lake lamp land landscape large late leaf leaves left letter light like line little living lone lonely long look lovely low
magic making man many map market masterpiece meadow metal middle milk minimal mirror mist modern morning mother mountains moving much music
narrow near new next nice night nine no north nose not number ocean of off oil old on one open or orange other out outside over own page paint
painted painting pair paper park part party path peaceful pencil people person photo photograph picture piece pink place plain plant plate
playing poster portrait pretty purple quality queen quiet rain rainy realistic red render resting ring river road rock room round running sad
sail salt sand scene sea season seven shadow sharp shelf shining shirt shoe shop short shiny side silver simple single sit sitting six sketch
sky sleeping slow small smile smiling smooth snow snowy soft some song south space spring square standing starry steel still stone stormy story
street strong style summer sunny sunrise sunset sweet swimming table tall tea ten that the their them there these thick thin thing this three
tiny to together top tower town toy travel triangle two ugly under until up valley vector very village vintage violet walking wall warm
watching water watercolor wave waves weather west wet white wide wild wind window winter with without woman wonderful wood wooden word world
yellow young zoo blurry lowres low quality worst jpeg artifacts text watermark signature cropped best high resolution
astronaut wizard warrior knight samurai princess pirate soldier doctor dancer angel witch zombie monster dinosaur unicorn phoenix wolf deer
squirrel hedgehog kangaroo koala giraffe zebra camel donkey goat goose swan peacock parrot pigeon eagle falcon crow raven spider ant snake lizard
crocodile seal otter beaver raccoon hamster tulips orchid lavender maple birch bamboo palm moss fern vine waterfall canyon cliff glacier iceberg
swamp jungle harbor harbour lighthouse temple church cathedral palace ruins skyscraper village cabin barn windmill fountain statue bridge tunnel
railway highway truck motorcycle helicopter submarine satellite telescope engine machine computer phone keyboard piano violin trumpet drum
sandwich burger noodles sushi chocolate cookie honey cheese tomato potato onion pumpkin corn orange peach pear plum melon coconut cinematic
lighting dramatic volumetric octane unreal engine trending artstation greg render studio ghibli anime manga comic cartoon pixel vector poster
minimalist surreal abstract cubism baroque renaissance impressionist cyberpunk steampunk gothic futuristic ancient medieval elegant intricate
sharp focus bokeh macro aerial panorama closeup portrait silhouette symmetrical pastel vibrant monochrome sepia neon holographic crystal marble
bronze copper velvet leather ceramic plastic concrete award winning professional photography hyperrealistic ultra highly detailed
""".split()
