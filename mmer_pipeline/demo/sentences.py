"""The lines of the demo: some express an emotion, others could be spoken in any mood.

`{name}`, `{place}` and `{day}` are filled in at random, so that few lines are repeated word for word.
"""

NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Henry", "Julia", "Oscar")
PLACES = ("office", "station", "kitchen", "garden", "library", "hospital", "school", "hotel")
DAYS = ("Monday", "Tuesday", "Thursday", "Friday", "Sunday")

ANGRY = (
    "I told you never to touch my things.",
    "Stop lying to me about {name}.",
    "How dare you call me a liar.",
    "Get out of my {place} right now.",
    "I am so sick of your excuses.",
    "You ruined everything again on {day}.",
    "Don't you ever speak to {name} like that.",
    "This is outrageous and you know it.",
    "I want my money back right now.",
    "You never listen to a word I say.",
    "Shut the door and leave me alone.",
    "It is always somebody else's fault with you.",
    "I hate the way you treat {name}.",
    "Stop shouting at me in the {place}.",
    "That is a ridiculous lie and you know it.",
    "I will not stand for this nonsense.",
    "You had no right to do that to {name}.",
    "I am furious about what happened on {day}.",
    "Never do that to me again.",
    "Who do you think you are?",
)
HAPPY = (
    "I got the job at the {place}!",
    "We are getting married on {day}!",
    "That is the best news I ever heard.",
    "I love this little {place} so much.",
    "What a wonderful surprise from {name}!",
    "I can't wait to celebrate with you.",
    "{name} said yes, can you believe it?",
    "This is going to be so much fun.",
    "I am so proud of you, {name}.",
    "We won the first prize on {day}!",
    "That was the funniest thing ever.",
    "Everything worked out, it is wonderful.",
    "Congratulations, that is amazing news!",
    "I am so excited about the trip.",
    "You look great, I love that colour.",
    "What a beautiful morning in the {place}.",
    "We are having a party for {name}.",
    "It is so good to see you again.",
    "The baby smiled at me on {day}.",
    "Oh that is fantastic, well done.",
)
SAD = (
    "I miss {name} more every day.",
    "She died last {day} in the {place}.",
    "I don't know how to go on.",
    "I cried the whole night about it.",
    "There is nothing left for me here.",
    "I feel so lonely without {name}.",
    "I am sorry that I let you down.",
    "It hurts to walk past the {place}.",
    "We lost everything we had in the fire.",
    "I should have said goodbye to {name}.",
    "Nobody came to see me on {day}.",
    "He is gone and he won't come back.",
    "I just feel empty all the time.",
    "I can't stop thinking about the funeral.",
    "I wish I could have helped {name}.",
    "I am so tired of being alone.",
    "The doctors say there is no hope.",
    "My heart is broken, I am sorry.",
    "I lost my best friend last {day}.",
    "It is too late for us now.",
)
NEUTRAL = (
    "The form is on the second page.",
    "You can park behind the {place}.",
    "The meeting starts at nine on {day}.",
    "I need your address and your number.",
    "The train to the coast leaves at ten.",
    "Please put the letter on the table.",
    "The {place} is open until six.",
    "You have to sign here and there.",
    "I usually take the bus to the {place}.",
    "The second room is on the left.",
    "{name} works in the office next door.",
    "We need two copies of the form.",
    "The report is due on {day}.",
    "Turn left behind the {place}.",
    "It takes about ten minutes by bus.",
    "My number is on the first page.",
    "{name} will send the letter on {day}.",
    "The price is the same for both.",
    "I have an appointment at nine.",
    "The keys are on the kitchen table.",
)
ANY_MOOD = (
    "I just talked to {name} on the phone.",
    "Did you see what {name} wrote?",
    "So you are leaving on {day}.",
    "That is what {name} told me.",
    "I didn't think you would come.",
    "We have to talk about the {place}.",
    "What are you doing here?",
    "I have known it since {day}.",
    "You never told me about that.",
    "Well, what did you expect?",
    "I don't know what to say.",
    "Is that really what happened?",
    "They called me from the {place}.",
    "It has been a very long day.",
    "I was waiting for you at the {place}.",
    "And then {name} opened the door.",
    "Tell me what you think about it.",
    "So this is the end of it.",
    "You know how {name} can be.",
    "I saw them at the {place} on {day}.",
    "Okay, let me think about it.",
    "That was all that {name} said.",
    "We did it the way you wanted.",
    "I can't believe that it is over.",
)
BY_LABEL = {
    "ang": ANGRY,
    "hap": HAPPY,
    "exc": HAPPY,
    "sad": SAD,
    "neu": NEUTRAL,
    "fru": (
        "I have filled in this form three times.",
        "Why does this never work?",
        "I give up on this thing.",
    ),
    "xxx": ("Well, I suppose so.", "Let us see what happens.", "Maybe you are right about {name}."),
}

# The scripted scene of every session: the F and the M speaker alternate; each line has the label that most sessions
# give it.
SCRIPT = (
    ("neu", "Did the letter come this morning?"),
    ("neu", "It is on the table, under the keys."),
    ("hap", "They want me, they really want me!"),
    ("hap", "I knew it, this is marvellous."),
    ("neu", "The course begins in the autumn."),
    ("sad", "Then you will be gone in September."),
    ("sad", "I don't want to leave you here."),
    ("ang", "So you decided without asking me."),
    ("ang", "You are not the one who gave up everything."),
    ("ang", "Don't you put that on me."),
    ("sad", "Sometimes I think we are finished."),
    ("sad", "Please don't say that to me."),
    ("ang", "Then say something that is true for once."),
    ("neu", "There is a train every hour."),
    ("hap", "You would come and live with me?"),
    ("hap", "I packed a suitcase an hour ago."),
)


def sample_lines() -> list[str]:
    """Every line ten times, with different names, places and days, to train the demo's tokenizer on."""
    templates = [line for lines in (*BY_LABEL.values(), ANY_MOOD) for line in lines]
    templates += [line for _, line in SCRIPT]
    return [
        template.format(name=name, place=PLACES[index % len(PLACES)], day=DAYS[index % len(DAYS)])
        for template in templates
        for index, name in enumerate(NAMES)
    ]
