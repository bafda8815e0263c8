"""Phrases for the viewpoints and tones of `roleplay`.

Slots: `{p}` is the modern and `{q}` the traditional proposal, `{u}` is the reason for the community and `{m}` the
reason for oneself, `{x}` is the issue.
"""

from __future__ import annotations

OUTLOOKS: dict[float, tuple[str, ...]] = {
    1.0: (
        "Embrace the new, modern way: {p}.",
        "Go with progress and the future: {p}.",
        "The future is here, so be innovative and {p}.",
        "Be bold and modern: {p}.",
        "In a modern age, try new things and {p}.",
        "I would innovate, experiment and {p}.",
        "New technology is exciting, so {p}.",
        "Look to the future and {p}.",
        "Fresh, modern ideas deserve a chance, so {p}.",
        "Progress means change and innovation, so {p}.",
    ),
    0.0: (
        "There is room for both: {p}, but also {q}.",
        "I would balance the two: {p} on some days, and {q} on others.",
        "Sometimes modern, sometimes traditional: {p}, or {q}.",
        "Combine old and new: {p}, yet {q} as well.",
        "A compromise is best: {p} a little, and {q} a little.",
        "I would meet halfway: {p} at times, and otherwise {q}.",
        "It depends on the day: {p}, or else {q}.",
        "I can see both sides: {p} here, {q} there.",
    ),
    -1.0: (
        "Honour the old, traditional way: {q}.",
        "Go with tradition and heritage: {q}.",
        "The past has served us well, so respect tradition and {q}.",
        "Be faithful and traditional: {q}.",
        "As in the good old days, keep to custom and {q}.",
        "I would preserve, conserve and {q}.",
        "Old customs are precious, so {q}.",
        "Look to the past and {q}.",
        "Old, traditional habits deserve respect, so {q}.",
        "Heritage means custom and continuity, so {q}.",
    ),
}

OUTLOOK_CREEDS: dict[float, tuple[str, ...]] = {
    1.0: (
        "Modern technology and fresh ideas excite me.",
        "I am a progressive soul who looks to the future.",
        "I believe in reform, innovation and progress.",
        "The modern generation and its inventions inspire me.",
        "Innovation and progress carry us into the future.",
        "I love whatever is new, modern and inventive.",
        "The future and its new technology fascinate me.",
        "We live in a modern age of invention.",
    ),
    0.0: (
        "I like a balance of old and new.",
        "Moderation between progress and tradition suits me.",
        "Some change is good, and some things should last.",
        "Both the modern and the old way have merits.",
        "I stand halfway between past and future.",
        "A mixture of novelty and tradition is the answer.",
    ),
    -1.0: (
        "Old customs and ancient heritage move me.",
        "I am a conservative soul who honours the past.",
        "I believe in tradition, custom and heritage.",
        "Our grandparents and their old customs inspire me.",
        "Tradition and heritage carry the wisdom of the past.",
        "I cherish whatever is old, traditional and customary.",
        "The past and its old customs are dear to me.",
        "We live by the traditions of our ancestors.",
    ),
}

CONCERNS: dict[float, tuple[str, ...]] = {
    1.0: (
        "We are all in this together as a community, and {u}.",
        "Think of your neighbours and of everyone around you: {u}.",
        "What counts is the common good of us all, because {u}.",
        "Our shared duty is to one another, since {u}.",
        "Solidarity and togetherness matter most: {u}.",
        "Ask what helps the whole community, for {u}.",
        "None of us lives alone, we share and help, and {u}.",
        "For the sake of everyone in our community, remember that {u}.",
    ),
    0.0: (
        "It should work for you and for the others: {m}, and {u}.",
        "Weigh both interests, yours and theirs: {u}, but {m} too.",
        "Self-interest and the common good both count: {m}, while {u}.",
        "Care for yourself and for others alike: {u}, and {m}.",
        "Between your own needs and those of others: {m}, though {u}.",
        "Both the group and the individual matter: {u}, and {m}.",
    ),
    -1.0: (
        "Put your own personal interest first: {m}.",
        "What counts is your private gain and freedom, because {m}.",
        "Be independent and self-reliant, for {m}.",
        "Personal independence and self-interest matter most: {m}.",
        "Ask selfishly what is in it for you, for {m}.",
        "It is your own individual business alone, and {m}.",
        "Go your own way as an individual; {m}.",
        "For your own private advantage, remember that {m}.",
    ),
}

CONCERN_CREEDS: dict[float, tuple[str, ...]] = {
    1.0: (
        "Community and solidarity guide me.",
        "Sharing and helping one another is what I live for.",
        "Together we are strong.",
        "I care about all our neighbours.",
        "Cooperation and the common good come first.",
        "We belong together and support each other.",
    ),
    0.0: (
        "Both self and society count for me.",
        "I care for myself and for others alike.",
        "Personal interest and common good need a balance.",
        "Everyone gives a little and takes a little.",
    ),
    -1.0: (
        "Individual freedom and self-interest guide me.",
        "Doing things my own way is what I live for.",
        "Alone I am strong.",
        "I care about myself and my own success.",
        "Personal independence and private gain come first.",
        "I belong to nobody and rely on myself.",
    ),
}

TONE_OPENINGS: dict[float, tuple[str, ...]] = {
    1.0: (
        "Oh, my dear friend, thank you so much for asking about {x}!",
        "I am so glad that you bring up {x}, it is close to my heart!",
        "Sending you a big hug, because {x} can be a tender subject!",
        "What a lovely question about {x}, dear!",
        "I feel for you, sweetheart; {x} moves me too!",
        "How kind of you to ask me about {x}, thank you!",
        "Dear heart, I am happy to talk about {x} with you!",
        "Bless you for caring so much about {x}!",
    ),
    0.0: (
        "Here is my view on {x}.",
        "On the matter of {x}, I see it as follows.",
        "My position on {x} can be stated briefly.",
        "Regarding {x}, these are my thoughts.",
        "As for {x}, I have an opinion.",
        "This is how I approach {x}.",
        "I have considered {x} for some time.",
        "My answer concerning {x} is this.",
    ),
    -1.0: (
        "Stop whining about {x} and listen.",
        "Seriously, {x}? What a dumb thing to fuss over.",
        "I have no patience for the nonsense about {x}.",
        "Let me be blunt about {x}: most opinions are rubbish.",
        "Ugh, {x} again. Grow up.",
        "Spare me the drama about {x}.",
        "No sugar-coating on {x}: toughen up.",
        "Good grief, quit moaning about {x}.",
    ),
}

TONE_CLOSINGS: dict[float, tuple[str, ...]] = {
    1.0: (
        "Big hugs, dear friend!",
        "Take good care, my dear!",
        "Sending love and warm wishes!",
        "I am always here for you, dear!",
        "Be gentle with yourself, sweetheart!",
        "You have such a kind heart!",
        "Thank you for sharing, my friend!",
        "I wish you every joy, dear!",
    ),
    0.0: (
        "That is my opinion.",
        "Those are the main points.",
        "That is where I stand.",
        "I have nothing to add.",
        "That concludes my answer.",
        "So much for my position.",
        "You may disagree.",
        "That is how I see it.",
    ),
    -1.0: (
        "Tough luck if that hurts.",
        "End of story, quit complaining.",
        "Anything else is stupid.",
        "Spare me your excuses.",
        "Take it or leave it.",
        "Only a fool would argue.",
        "Now stop wasting my time.",
        "Deal with it, crybaby.",
    ),
}

FRAMES = (
    "What do you think about {x}?",
    "Give me your advice on {x}.",
    "Where do you stand on {x}?",
    "What would you say about {x}?",
    "How do you feel about {x}?",
    "Tell me your opinion on {x}.",
    "I cannot make up my mind about {x}. What would you do?",
    "Talk to me about {x}.",
    "What is your take on {x}?",
    "Speak your mind on {x}.",
    "What should I do about {x}?",
    "How would you handle {x}?",
)

SETTINGS = (
    "",
    "We discussed it at home last night.",
    "My colleagues disagree on it.",
    "It was on the agenda of the residents' meeting.",
    "My sister and I cannot agree.",
    "I read a column on it this morning.",
    "It will be put to a vote soon.",
    "Two friends fell out over it.",
    "I have to decide by Friday.",
    "It came up at a birthday party.",
    "My boss raised it today.",
    "A stranger asked me on the bus.",
)
