"""Things to review, by category, and the phrases that judge them.

Bank format, one block per category: its items after `=`, then aspects as `subject | praise | complaint`.
"""

from __future__ import annotations

CATEGORIES = """
hotel
= hotel, guest house, hostel
the bed | was soft, clean and heavenly to sleep in | sagged in the middle and smelled of smoke
the front desk | greeted us warmly and fixed everything at once | ignored us and lost our booking twice
the breakfast | was fresh, generous and delicious | was cold, stale and nearly inedible
the shower | was hot, strong and spotless | ran cold and had mould in the corners
the view from the room | was simply gorgeous | was ugly, just a wall and bins
the neighbourhood at night | was peaceful and safe | was loud and frightening

restaurant
= ramen bar, pizzeria, steak house
the main course | was rich, tender and full of flavour | was bland, greasy and overcooked
the waiter | was friendly and knew every dish | was rude and forgot half of our order
the dessert | was a little work of art | was stale and tasted cheap
the table | was cosy and beautifully set | was sticky and wedged next to the toilets
the bill | was very fair for such quality | was outrageous for such tiny plates
the kitchen | was quick and cared about every detail | kept us waiting for over an hour

headphones
= headset, loudspeaker, pocket radio
the sound | was crisp, warm and wonderfully clear | was tinny, muffled and full of hiss
the battery | lasted for days on one charge | died after barely two hours
the fit | was so comfortable that I forgot it was there | hurt my ears within minutes
the microphone | made every call sound perfect | was terrible and distorted
the pairing | worked instantly with every device | dropped out again and again
the casing | felt solid and beautifully made | cracked within the first week

novel
= novel, thriller, memoir
the opening chapter | was gripping and exciting | dragged on without any purpose
the main character | felt alive, funny and touching | was a flat and annoying cliche
the prose | was elegant and a joy to read | was clumsy and full of errors
the ending | was moving and perfectly earned | was lazy and made no sense at all
the dialogue | sparkled on every page | was wooden and painfully dull
the plot | was clever and full of lovely surprises | was predictable and full of holes

film
= comedy film, space film, documentary
the acting | was superb down to the smallest role | was stiff and embarrassing to watch
the script | was sharp, witty and heartfelt | was a tedious pile of cliches
the music | was beautiful and gave me goosebumps | was grating and far too loud
the camera work | was breathtakingly beautiful | was shaky and made me queasy
the pacing | kept me on the edge of my seat | was so slow that I nearly walked out
the final scene | was brilliant and stayed with me | was a silly and irritating mess

kitchen
= kettle, blender, coffee machine
the motor | was quiet and wonderfully powerful | screamed like a drill and then burned out
the lid | closed tightly and never leaked | leaked hot water over my hands
the cleaning | was quick and effortless | was a nightmare of tiny cracks and grime
the first cup each morning | came out perfect | was disgusting and tasted of plastic
the buttons | were clear and a pleasure to use | jammed and fell off
the design | looked lovely on the counter | looked cheap and took up all the space

phone
= smartphone, tablet, smart watch
the screen | was bright, sharp and gorgeous | flickered and scratched at once
the camera | took stunning pictures even at night | took blurry and washed-out pictures
the battery | easily lasted two full days | was empty by noon
the menus | were smooth, fast and easy to learn | froze and crashed all the time
the case | felt sturdy and elegant in the hand | bent in my pocket within a week
the updates | arrived early and made it even better | were bad and broke everything

airline
= airline, ferry line, night train
the seat | was roomy and truly comfortable | was cramped, broken and filthy
the crew | was cheerful, kind and attentive | was unfriendly and never came when called
the departure | was right on time | was terribly late, by six hours
the luggage | was handled quickly and with care | was lost and badly damaged
the food on board | was surprisingly tasty | was a disgusting grey mush
the booking page | was simple and honest about the price | was full of hidden fees and errors

fitness
= gym, yoga studio, climbing hall
the trainer | was patient, skilled and encouraging | was bored, careless and always on the phone
the equipment | was modern and in perfect shape | was broken, rusty and unsafe
the changing room | was spotless and smelled fresh | was filthy and had no working lockers
the classes | were varied, fun and well taught | were overcrowded and badly taught
the contract | was flexible and very fair | was an unfair trap
the mood on the floor | was welcoming to everybody | was hostile and full of show-offs

garden
= lawn mower, garden chair, greenhouse
the assembly | was quick, smooth and easy | was a frustrating day-long struggle
the frame | stood firm through every storm | was weak, rusty and collapsed
the manual | was clear and well illustrated | was useless and badly translated
the finish | looked beautiful among the flowers | peeled off and left stains
the price | was great for this quality | was a rip-off for such junk
the handling | was light and a real pleasure | was heavy, awkward and painful

clothes
= winter coat, running shoe, rucksack
the fabric | felt soft, warm and durable | was itchy, cheap and torn
the seams | were strong and neatly done | were weak and came apart
the size | was perfect and comfortable | was wrong and painfully tight
the colour | was vivid and even prettier than in the photo | was dull, ugly and unlike the photo
the zip | ran smoothly every time | got stuck and then broke off
the pockets | were roomy and well placed | were tiny, torn and useless

course
= language course, cooking class, pottery class
the teacher | explained everything kindly and clearly | rushed, mumbled and mocked questions
the materials | were excellent and lovingly made | were outdated and full of mistakes
the group | was small, friendly and motivated | was huge, noisy and chaotic
the exercises | were fun and really taught me something | were pointless and boring
the schedule | was well planned and reliable | was unreliable and chaotic
the room | was bright, warm and inviting | was freezing, dark and dirty

app
= budgeting app, recipe app, hiking app
the sign-up | was quick, easy and pleasant | was broken and intrusive
the layout | was clean, pretty and easy to follow | was cluttered, ugly and confusing
the reminders | were helpful and well timed | were annoying spam all night
the support team | answered at once and solved my problem | was rude and never answered
the offline mode | worked flawlessly in the mountains | was broken and lost my data
the free version | already offered everything I need | was a useless shell full of adverts

museum
= science museum, castle, aquarium
the guide | was funny, wise and full of stories | was grumpy and read from a sheet
the exhibits | were fascinating and beautifully lit | were dusty, broken and badly labelled
the queue | moved quickly and in good order | was an awful two-hour ordeal
the cafe | served lovely cakes at fair prices | sold stale sandwiches for a fortune
the tour for children | delighted our whole family | bored our children to tears
the garden outside | was a splendid place to rest | was closed, muddy and full of litter

service
= moving company, cleaning service, bike repair shop
the staff | was punctual, polite and careful | was rude, late and clumsy
the estimate | was fair and honest | was a lie and doubled later
the result | was excellent in every detail | was sloppy and had to be redone
the phone line | was quick and friendly | was useless and kept me waiting
the scheduling | was flexible and effortless | was a chaotic mess
the follow-up | was thoughtful and very helpful | was lazy and unhelpful

game
= board game, puzzle, video game
the rules | were clever and quick to learn | were muddled and contradicted themselves
the artwork | was charming and full of detail | was ugly and looked unfinished
the pieces | were sturdy and lovely to touch | were flimsy and some were missing
the first evening | was full of laughter and excitement | was dull and ended in boredom
the difficulty | was perfectly balanced | was unfair and maddening
the box | was packed with wonderful extras | was crushed, ugly and half empty
"""

VERDICTS: dict[float, tuple[str, ...]] = {
    1.0: (
        "I absolutely love {it}.",
        "Five stars for {it}, simply excellent.",
        "What a fantastic surprise: {it} is superb.",
        "I am thrilled with {it} and would choose it again.",
        "Brilliant in every way, {it} deserves high praise.",
        "I am so happy with {it}.",
        "Simply wonderful: {it} is a delight.",
        "I warmly recommend {it} to everybody.",
        "An outstanding experience with {it}.",
        "Perfect from start to finish, {it} is a gem.",
    ),
    0.5: (
        "I quite like {it}, apart from minor flaws.",
        "Four stars for {it}: good, though not perfect.",
        "On the whole {it} is good, with a small weakness.",
        "Mostly pleased with {it}, despite a hiccup.",
        "Good overall, {it} has more strengths than faults.",
        "I would cautiously recommend {it}.",
        "A solid choice, {it} could still improve a little.",
        "Pleasant on balance, {it} is nearly there.",
        "I am fairly satisfied with {it}.",
        "Better than average: {it} does most things right.",
    ),
    0.0: (
        "I have mixed feelings about {it}.",
        "Three stars for {it}, neither good nor bad.",
        "An average affair, {it} is just okay.",
        "My verdict on {it} is split down the middle.",
        "So-so: {it} has as many ups as downs.",
        "I neither recommend {it} nor warn against it.",
        "Right in the middle of the field, {it} is passable.",
        "I feel undecided about {it}.",
        "For every plus there is a minus with {it}.",
        "An ordinary experience with {it}, half good and half poor.",
    ),
    -0.5: (
        "I am rather disappointed with {it}.",
        "Two stars for {it}: weak, with one bright spot.",
        "On the whole {it} is below average, though not hopeless.",
        "Mostly a letdown, {it} has a single saving grace.",
        "I would probably not choose {it} again.",
        "More faults than strengths, sadly, in {it}.",
        "Not terrible, but {it} fell short of what I expected.",
        "I was somewhat let down by {it}.",
        "A mediocre choice, {it} needs a lot of improvement.",
        "Underwhelming on balance, {it} misses the mark.",
    ),
    -1.0: (
        "I absolutely hate {it}.",
        "One star for {it}, simply pathetic.",
        "What a horrible waste of money: {it} is awful.",
        "I am furious about {it} and want a refund.",
        "Terrible in every way, {it} should be avoided.",
        "I deeply regret choosing {it}.",
        "Simply dreadful: {it} is a nightmare.",
        "I warn everybody to stay away from {it}.",
        "An atrocious experience with {it}.",
        "A disaster from start to finish, {it} is a disgrace.",
    ),
}

CONCLUSIONS: dict[float, tuple[str, ...]] = {
    1.0: (
        "All in all, it is perfect and I adore it.",
        "I am delighted and will tell all my friends.",
        "Everything about it was fantastic.",
        "Truly excellent and lovely throughout.",
        "A wonderful experience from first to last.",
        "Worth every penny, I love it.",
    ),
    0.5: (
        "All in all, it is good, with a little room for improvement.",
        "I am mostly happy, with one small reservation.",
        "The good clearly outweighs the bad.",
        "Fairly nice, though not quite perfect.",
        "A decent experience with a minor drawback.",
        "It is good value, apart from that one flaw.",
    ),
    0.0: (
        "All in all, it is average.",
        "I am neither happy nor unhappy.",
        "Good and bad cancel out.",
        "It is okay, nothing more and nothing less.",
        "A middling experience.",
        "Some will like it, others will not.",
    ),
    -0.5: (
        "All in all, it is rather weak, with a little to like.",
        "I am mostly unhappy, in spite of one good point.",
        "The bad clearly outweighs the good.",
        "Fairly poor, though not a complete failure.",
        "A disappointing experience with one consolation.",
        "It is poor value, apart from that one strength.",
    ),
    -1.0: (
        "All in all, it is worthless and I hate it.",
        "I am disgusted and will warn all my friends.",
        "Everything about it was horrible.",
        "Truly awful and nasty throughout.",
        "A miserable experience from first to last.",
        "A complete waste of money, avoid it.",
    ),
}

PRAISING = (
    "Happily, {s} {p}.",
    "I loved that {s} {p}.",
    "To my delight, {s} {p}.",
    "{S} {p}, which was wonderful.",
    "{S} {p}, and that made me happy.",
    "It was a joy that {s} {p}.",
    "I was impressed that {s} {p}.",
    "{S} {p}, which pleased me greatly.",
)

COMPLAINING = (
    "Sadly, {s} {p}.",
    "I hated that {s} {p}.",
    "To my horror, {s} {p}.",
    "{S} {p}, which was terrible.",
    "{S} {p}, and that made me angry.",
    "It was annoying that {s} {p}.",
    "I was appalled that {s} {p}.",
    "{S} {p}, which upset me badly.",
)

PRAISING_PAIRS = (
    "It was great that {s} {p} and that {s2} {p2}.",
    "I loved how {s} {p} and how {s2} {p2}.",
    "{S} {p}, and best of all, {s2} {p2}.",
    "Wonderfully, {s} {p}, and {s2} {p2}.",
    "{S} {p}, and {s2} {p2}, both a delight.",
)

COMPLAINING_PAIRS = (
    "It was awful that {s} {p} and that {s2} {p2}.",
    "I hated how {s} {p} and how {s2} {p2}.",
    "{S} {p}, and worst of all, {s2} {p2}.",
    "Horribly, {s} {p}, and {s2} {p2}.",
    "{S} {p}, and {s2} {p2}, both a disgrace.",
)

CONTRASTS = (
    "{S} {p}, but {s2} {p2}.",
    "{S} {p}, whereas {s2} {p2}.",
    "While {s} {p}, {s2} {p2}.",
    "{S} {p}, yet {s2} {p2}.",
)

BRANDS = (
    "Halden Marlow Brightwell Castor Oakmere Tindal Verano Lumley Sorrel Pemberton Quill Ashford "
    "Norrland Dunmore Elgin Fairlane Galway Hollis Ivory Juniper Kestrel Larkin Merrow Northgate "
    "Orlando Prescott Quincy Rowan Sterling Tamar Upton Velden Whitby Yarrow Zephyr Alder Birch Calder "
    "Dover Ember Fenwick Garland Harlow Isola Jasper Kendal Linden Mistral Nairn Orchard Pacifica "
    "Ridgeway Selby Thistle Umbra Vesper Waverley "
).split()

FRAMES = (
    "Write a review of {it}.",
    "Review {it} for our site.",
    "What would you post about {it}?",
    "Leave a customer review for {it}.",
    "How was {it}?",
    "Share your experience with {it}.",
    "Please rate {it} and say why.",
    "We would like to hear what you think of {it}.",
    "Tell other customers about {it}.",
    "Give your opinion on {it}.",
    "Describe your time with {it}.",
    "Would you choose {it} again? Write a review.",
)
