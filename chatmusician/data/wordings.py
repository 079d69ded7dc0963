"""The instructions of each task in several wordings, of which every question takes one.

Which one a tune gets depends on how many there are: adding to a list moves every row of its task, so lists on whose
rows figures were published stay as they are.
"""

TEXT_TO_SCORE = (
    "Write a tune in ABC notation that fits this description.",
    "Turn these details into a score in ABC notation.",
    "Compose a piece in ABC notation with the properties below.",
    "Here is what the tune should be like. Give me its ABC notation.",
    "Make a melody in ABC notation from the following facts.",
)

FORM_TO_MUSIC = (
    "Compose a tune that has the musical form named below.",
    "Write a melody in ABC notation built on this structure.",
    "Use the following form to make a piece of music.",
    "Let the tune you write follow this musical form.",
)

LETTERS_AND_MOTIF_TO_MUSIC = (
    "Compose a tune whose sections follow these letters and grow out of the motifs.",
    "The letters give the order of the sections, the motifs their ideas. Write the whole tune.",
    "Write music in ABC notation with this alphabetic form and these motifs.",
    "Develop the motifs into a tune with the sections that the letters name.",
)

TERMS_AND_MOTIF_TO_MUSIC = (
    "Compose a tune in the named form that makes use of the motifs.",
    "Write a tune in ABC notation from these motifs, in the form given.",
    "Take the form and the motifs below and make a complete melody of them.",
    "Build a piece with this structure around these motifs.",
)

MOTIF_EXTRACTION = (
    "Find the motif of each section of this tune.",
    "Which melodic figure comes back most in each section of the tune below?",
    "Name the recurring motif, section by section.",
    "Read the tune and write down the motif that each of its sections is made of.",
)

FORM_EXTRACTION = (
    "What is the musical form of this tune?",
    "Describe the structure of the tune below with the usual terms.",
    "Name the form in which this piece is written.",
    "Study how the sections of this tune relate and give its form.",
)

CHORDS_TO_MUSIC = (
    "Write a tune in ABC notation over these chords.",
    "Compose a melody that goes with the following chord progression, and note the chords above it.",
    "Here are the chords, in their order. Give me a tune for them in ABC notation.",
    "Use this progression of chords to make a piece of music.",
    "The chords below are to carry a melody of yours. Write both down together.",
    "Invent a tune whose harmony moves through these chords.",
)

HARMONISATION = (
    "Add chords to this tune.",
    "Harmonise the melody below with chord symbols.",
    "Which chords would accompany this tune? Write it out with them.",
    "Give the following melody a fitting chord progression.",
    "Put a chord symbol wherever the harmony of this tune should change, and leave its notes alone.",
    "A guitarist wants to play along. Write chords over this tune.",
)

BACH_STYLE = (
    "Compose a chorale in four voices as Bach might have set it.",
    "Write a four-part chorale in ABC notation, in the manner of Johann Sebastian Bach.",
    "Give me a hymn for soprano, alto, tenor and bass in Bach's style.",
    "Harmonise a chorale melody of your own the way Bach did, in four parts.",
    "Create a piece of church music for four voices that sounds like Bach.",
    "Set a chorale for choir. Bach is the model.",
)

KEY_IDENTIFICATION = (
    "In which key is this tune?",
    "The tune below has all its accidentals written out. Name its key.",
    "Work out the tonic and the mode of this melody, and write them as an ABC key.",
    "What would stand in the K: field of this tune?",
    "Listen for where this tune is at home. Which key is it in?",
)

METER_IDENTIFICATION = (
    "What is the meter of this tune?",
    "Count the beats of a bar in the music below and give its time signature.",
    "The time signature is missing here. Which one is it?",
    "What would stand in the M: field of this tune?",
    "Find out from the bars how this melody is counted.",
)

RHYTHM_IDENTIFICATION = (
    "What kind of tune is this?",
    "Which dance would this tune be played for?",
    "Name the type of the tune below, such as reel or waltz.",
    "Look at the rhythm of this melody and tell which kind of dance tune it is.",
    "A session player asks what to call this: a jig, a hornpipe, something else?",
)
