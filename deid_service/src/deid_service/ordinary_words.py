"""Words that are people's names now and then, and ordinary words of imaging far more often.

A patient called Head must not cost every head scan its description. These words count as a name only beside another
part of the name or after a form of address.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ORDINARY_WORDS", "TITLES"]

_TITLES = (
    "dr prof professor mr mrs ms miss mister herr frau hr fr sir madame mme monsieur mlle senor senora sig signora "
    "dott med doctor doktor pt pat patient patientin"
)

TITLES: Final = frozenset(_TITLES.split())
"""Forms of address, folded: an ordinary word after one of them is a name."""

_ORDINARY_WORDS = (
    # placeholders
    "anon anonymous anonym anonymized anonymised unknown unbekannt none null test tests testing demo phantom phantoms "
    "patient patients name noname subject case volunteer sample dummy example deidentified removed male female "
    "baby infant child adult doctor "
    # parts of names that say nothing
    "von van der den del della des dos das los las les the and bin ibn abu ben bar mac san santa saint sankt dela "
    "junior senior phd msc bsc mph "
    # regions of the body and what is done to them
    "head neck chest breast brain skull face eye eyes ear ears nose mouth jaw tooth hand hands wrist finger thumb arm "
    "arms elbow shoulder shoulders back spine hip hips leg legs knee knees ankle foot feet toe toes heel heart lung "
    "lungs liver spleen kidney kidneys bladder colon bowel stomach pelvis abdomen thorax aorta vein veins artery bone "
    "bones joint skin muscle nerve cord disc disk body trunk whole upper lower left right both side lateral medial "
    "pancreas prostate uterus ovary ovaries thyroid adrenal adrenals gallbladder esophagus trachea bronchus cervix "
    "cranium mandible maxilla orbit sinus sternum clavicle scapula rib ribs femur tibia fibula humerus radius ulna "
    "carotid femoral tumor tumour lesion mass node nodes nodule cyst cancer trauma fracture stroke "
    "anterior posterior axial sagittal coronal oblique proximal distal middle center centre mid "
    "scan scans study series image images exam view views slice slices stack phase phases pass local plan angio "
    "routine standard special protocol contrast native plain plus post pre with without before after during delay "
    "delayed early late fast slow thin thick soft hard sharp smooth high low long short wide narrow large small big "
    "great little new old young cold cool warm hot dark light bright clear deep flat free full half open close closed "
    "main major minor normal original primary secondary single double triple multi first second third last final "
    "dose time dynamic static perfusion diffusion weighted field echo spin gradient fat water air gas iron gold "
    "silver copper steel stone wood woods rock sand snow rain frost storm summer winter spring fall day days week "
    "month year night noon black white brown green gray grey blue red rose pink "
    "north south east west may march april june july august king queen prince knight bishop abbot pope page "
    "cook carpenter mason potter hunter fisher shepherd gardener porter "
    "rider driver sawyer weaver butler ward hall wall field hill hills lake river brook "
    "ford bridge banks shore moor forest park parks garden church temple castle tower house room rooms street "
    "road lane way gate gates door doors bell ball ring rings cross key keys lock price cash rich poor wise strong "
    "swift sweet savage noble love joy hope faith grace charity art mark marks bill will rob pat grant chase "
    "chance guy ray rays dean gene iris ruby amber crystal dawn eve earl duke baron max mix tip top bottom base case "
    "line lines loop point points cut cuts cup cone wedge block rod tube valve pump stent coil coils grid box mask "
    "report result results summary history finding findings impression comment comments note notes follow control "
    "screening diagnostic clinical research trial site group cohort visit baseline station scanner machine table "
    "philips siemens toshiba hitachi canon hologic general electric medical systems system hospital clinic radiology "
    "department institute university center praxis klinik klinikum "
    # the same in other languages of this corpus
    "kopf hals brust bauch becken hand fuss knie bein arm schulter rucken herz lunge leber niere links rechts lang "
    "kurz klein gross alt jung neu weiss schwarz braun grun gelb rot winter sommer berg stein bach wolf fuchs vogel "
    "tete cou main pied jambe bras coeur foie rein gauche droite grand petit blanc noir brun vert rouge "
    "cabeza cuello mano pie pierna brazo corazon higado izquierda derecha grande blanco negro verde rojo"
)

ORDINARY_WORDS: Final = frozenset(_ORDINARY_WORDS.split())
"""Ordinary words, folded: lower case, without accents."""
