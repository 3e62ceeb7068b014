# ruff: noqa: E501  (a template stands on one line)
"""Prose in other languages than English, from one small grammar per language: what a language filter must drop."""

from random import Random

from data_pipeline.synthetic.grammar import pick, render, shuffled
from data_pipeline.synthetic.prose.article import Article, paragraphs

GRAMMARS: dict[str, tuple[str, ...]] = {
    "de": (
        "[Am Morgen|Am Abend|Im Winter|Jeden Sonntag] [geht|fährt] [der alte Mann|meine Schwester|der Lehrer] [in die Stadt|zum Markt|an den Fluss], [weil dort|obwohl] [viele Leute warten|es oft regnet].",
        "[Die Kinder|Unsere Nachbarn] [spielen|sitzen] [im Garten|vor dem Haus] und [erzählen|hören] [lange Geschichten|alte Lieder].",
        "[Niemand|Kaum jemand] weiß, [warum|seit wann] [die Brücke|das Rathaus] [geschlossen ist|so früh gebaut wurde].",
        "[Der Bürgermeister|Eine Sprecherin] [sagte|erklärte], dass [die neue Schule|der Bahnhof] [im nächsten Jahr|noch vor dem Sommer] fertig wird.",
        "Wer [Brot|frisches Gemüse|guten Käse] kaufen [möchte|will], [sollte|muss] [früh aufstehen|auf den Markt gehen].",
        "[Nach dem Essen|Später] [tranken wir|gab es] [Kaffee|Tee] und [sprachen|redeten] über [das Wetter|die Arbeit|die Ferien].",
        "[Das Museum|Die Bibliothek] hat [täglich außer montags|am Wochenende] geöffnet, und der Eintritt ist [frei|für Schüler billiger].",
        "[In den Bergen|An der Küste] [liegt|fällt] [viel Schnee|dichter Nebel], [deshalb|darum] fahren [die Züge|viele Busse] langsamer.",
        "[Die Ärztin|Der Bauer] [hilft|antwortet] [jedem|den Menschen im Dorf] gern, auch wenn [die Zeit knapp ist|es schon spät ist].",
        "Es [war|ist] [ein schöner Tag|eine lange Reise], und [alle|wir] [waren|sind] [müde, aber glücklich|zufrieden].",
    ),
    "fr": (
        "[Le matin|Chaque dimanche|En hiver], [le vieil homme|ma sœur|le professeur] [va|se promène] [au marché|au bord de la rivière|dans la ville], [même s'il pleut|parce qu'il aime le calme].",
        "[Les enfants|Nos voisins] [jouent|restent] [dans le jardin|devant la maison] et [racontent|écoutent] [de longues histoires|de vieilles chansons].",
        "[Personne ne sait|On ignore] pourquoi [le pont|la mairie] [est fermé depuis hier|a été construite si tôt].",
        "[Le maire|Une habitante] a [déclaré|expliqué] que [la nouvelle école|la gare] serait [prête|ouverte] [l'année prochaine|avant l'été].",
        "Pour acheter [du pain|des légumes frais|du bon fromage], il faut [se lever tôt|aller au marché].",
        "[Après le repas|Plus tard], nous avons bu [du café|du thé] et parlé [du temps|du travail|des vacances].",
        "[Le musée|La bibliothèque] est [ouverte tous les jours|ouvert le week-end], et l'entrée est [gratuite|moins chère pour les élèves].",
        "[À la montagne|Sur la côte], il y a [beaucoup de neige|un brouillard épais], [c'est pourquoi|et donc] les trains [roulent lentement|arrivent en retard].",
        "Cette [recette|histoire] vient de ma grand-mère, qui [habitait|vivait] dans un petit village [du sud|près de la mer].",
        "C'était [une belle journée|un long voyage], et tout le monde était [fatigué mais heureux|content de rentrer].",
    ),
    "es": (
        "[Por la mañana|Cada domingo|En invierno], [el viejo|mi hermana|el maestro] [va|camina] [al mercado|a la orilla del río|por la ciudad], [aunque llueva|porque le gusta el silencio].",
        "[Los niños|Nuestros vecinos] [juegan|se sientan] [en el jardín|delante de la casa] y [cuentan|escuchan] [largas historias|canciones antiguas].",
        "[Nadie sabe|No se sabe] por qué [el puente|el ayuntamiento] [está cerrado desde ayer|se construyó tan pronto].",
        "[El alcalde|Una vecina] [dijo|explicó] que [la nueva escuela|la estación] estará [lista|abierta] [el próximo año|antes del verano].",
        "Para comprar [pan|verduras frescas|buen queso] hay que [levantarse temprano|ir al mercado].",
        "[Después de comer|Más tarde] tomamos [café|té] y hablamos [del tiempo|del trabajo|de las vacaciones].",
        "[El museo|La biblioteca] abre [todos los días|los fines de semana], y la entrada es [gratuita|más barata para los alumnos].",
        "[En la montaña|En la costa] hay [mucha nieve|una niebla espesa], [por eso|así que] los trenes [van despacio|llegan tarde].",
        "Esta [receta|historia] es de mi abuela, que [vivía|nació] en un pueblo pequeño [del sur|cerca del mar].",
        "Fue [un día hermoso|un viaje largo], y todos estaban [cansados pero felices|contentos de volver a casa].",
    ),
    "it": (
        "[La mattina|Ogni domenica|D'inverno] [il vecchio|mia sorella|il maestro] [va|cammina] [al mercato|lungo il fiume|in città], [anche se piove|perché ama il silenzio].",
        "[I bambini|I nostri vicini] [giocano|si siedono] [nel giardino|davanti alla casa] e [raccontano|ascoltano] [lunghe storie|vecchie canzoni].",
        "[Nessuno sa|Non si sa] perché [il ponte|il municipio] [è chiuso da ieri|è stato costruito così presto].",
        "[Il sindaco|Una signora] ha [detto|spiegato] che [la nuova scuola|la stazione] sarà [pronta|aperta] [l'anno prossimo|prima dell'estate].",
        "Per comprare [il pane|verdure fresche|un buon formaggio] bisogna [alzarsi presto|andare al mercato].",
        "[Dopo pranzo|Più tardi] abbiamo bevuto [il caffè|il tè] e parlato [del tempo|del lavoro|delle vacanze].",
        "[Il museo|La biblioteca] è [aperta tutti i giorni|aperto nel fine settimana], e l'ingresso è [gratuito|meno caro per gli studenti].",
        "Questa [ricetta|storia] viene da mia nonna, che [abitava|viveva] in un piccolo paese [del sud|vicino al mare].",
        "È stata [una bella giornata|una lunga gita], e tutti erano [stanchi ma felici|contenti di tornare a casa].",
    ),
    "pt": (
        "[De manhã|Todos os domingos|No inverno], [o velho|a minha irmã|o professor] [vai|caminha] [ao mercado|até ao rio|pela cidade], [mesmo quando chove|porque gosta do silêncio].",
        "[As crianças|Os nossos vizinhos] [brincam|sentam-se] [no jardim|em frente da casa] e [contam|ouvem] [longas histórias|canções antigas].",
        "[Ninguém sabe|Não se sabe] por que [a ponte|a câmara] [está fechada desde ontem|foi construída tão cedo].",
        "[O presidente|Uma moradora] [disse|explicou] que [a nova escola|a estação] estará [pronta|aberta] [no próximo ano|antes do verão].",
        "Para comprar [pão|legumes frescos|um bom queijo] é preciso [levantar cedo|ir ao mercado].",
        "[Depois do almoço|Mais tarde] bebemos [café|chá] e falámos [do tempo|do trabalho|das férias].",
        "[O museu|A biblioteca] abre [todos os dias|aos fins de semana], e a entrada é [gratuita|mais barata para os alunos].",
        "Esta [receita|história] é da minha avó, que [vivia|nasceu] numa aldeia [do sul|perto do mar].",
        "Foi [um dia bonito|uma longa viagem], e todos estavam [cansados mas felizes|contentes por voltar].",
    ),
    "nl": (
        "['s Morgens|Elke zondag|In de winter] gaat [de oude man|mijn zus|de leraar] naar [de markt|de rivier|de stad], [ook als het regent|omdat het daar rustig is].",
        "[De kinderen|Onze buren] [spelen|zitten] [in de tuin|voor het huis] en [vertellen|luisteren naar] [lange verhalen|oude liedjes].",
        "[Niemand weet|Bijna niemand weet] waarom [de brug|het stadhuis] [gesloten is|zo vroeg werd gebouwd].",
        "[De burgemeester|Een bewoonster] [zei|vertelde] dat [de nieuwe school|het station] [volgend jaar|voor de zomer] klaar is.",
        "Wie [brood|verse groente|goede kaas] wil kopen, moet [vroeg opstaan|naar de markt gaan].",
        "[Na het eten|Later] dronken we [koffie|thee] en praatten we over [het weer|het werk|de vakantie].",
        "[Het museum|De bibliotheek] is [elke dag|in het weekend] open, en de toegang is [gratis|goedkoper voor scholieren].",
        "Dit [recept|verhaal] komt van mijn oma, die in een klein dorp [in het zuiden|bij de zee] woonde.",
        "Het was [een mooie dag|een lange reis], en iedereen was [moe maar gelukkig|blij om thuis te zijn].",
    ),
    "pl": (
        "[Rano|W każdą niedzielę|Zimą] [stary człowiek|moja siostra|nauczyciel] [idzie|chodzi] [na targ|nad rzekę|do miasta], [nawet gdy pada deszcz|bo lubi ciszę].",
        "[Dzieci|Nasi sąsiedzi] [bawią się|siedzą] [w ogrodzie|przed domem] i [opowiadają długie historie|słuchają starych piosenek].",
        "[Nikt nie wie|Mało kto wie], dlaczego [most|ratusz] [jest zamknięty od wczoraj|zbudowano tak wcześnie].",
        "[Burmistrz|Mieszkaniec] [powiedział|wyjaśnił], że [nowa szkoła|stacja] będzie gotowa [w przyszłym roku|przed latem].",
        "Kto chce kupić [chleb|świeże warzywa|dobry ser], musi [wcześnie wstać|iść na targ].",
        "[Po obiedzie|Później] piliśmy [kawę|herbatę] i rozmawialiśmy o [pogodzie|pracy|wakacjach].",
        "[Muzeum|Schronisko] jest otwarte [codziennie|w weekendy], a wstęp jest [wolny|tańszy dla uczniów].",
        "Ten przepis pochodzi od mojej babci, która [mieszkała|żyła] w małej wsi [na południu|nad morzem].",
        "To był [piękny dzień|długi wyjazd] i wszyscy byli [zmęczeni, ale szczęśliwi|zadowoleni].",
    ),
    "ru": (
        "[Утром|Каждое воскресенье|Зимой] [старик|мой брат|учитель] [идёт|ходит] [на рынок|к реке|в город], [даже если идёт дождь|потому что любит тишину].",
        "[Дети|Наши соседи] [играют|сидят] [в саду|перед домом] и [рассказывают длинные истории|слушают старые песни].",
        "[Никто не знает|Мало кто знает], почему [мост закрыт|здание построили так рано].",
        "[Мэр|Житель города] [сказал|объяснил], что [новая школа|станция] будет готова [в следующем году|до лета].",
        "Кто хочет купить [хлеб|свежие овощи|хороший сыр], должен [рано вставать|идти на рынок].",
        "[После обеда|Позже] мы пили [кофе|чай] и говорили о [погоде|работе|каникулах].",
        "[Музей открыт|Музей работает] [каждый день|по выходным], и вход [бесплатный|дешевле для школьников].",
        "Этот рецепт достался мне от бабушки, которая жила в маленькой деревне [на юге|у моря].",
        "Это был [прекрасный день|долгий путь], и все были [усталые, но счастливые|рады вернуться домой].",
        "[В горах|На берегу] [много снега|густой туман], поэтому поезда [идут медленно|опаздывают].",
    ),
    "zh": (
        "[每天早上|每个星期天|冬天的时候],[老人|我的姐姐|老师][都会去|常常走到][市场|河边|城里],[因为那里很安静|即使下雨也不例外]。",
        "[孩子们|我们的邻居][在花园里玩|坐在门前],[讲着很长的故事|听着古老的歌]。",
        "[没有人知道|很少有人知道][这座桥|市政厅]为什么[关闭了|这么早就建成了]。",
        "[市长|一位居民][说|解释说],[新学校|车站][明年|夏天以前]就会[完工|开放]。",
        "想买[面包|新鲜蔬菜|好奶酪]的人必须[早起|去市场]。",
        "[吃完饭以后|后来],我们喝了[咖啡|茶],谈到了[天气|工作|假期]。",
        "[博物馆|图书馆][每天|周末]开放,[门票免费|学生票比较便宜]。",
        "这个[食谱|故事]是我奶奶告诉我的,她住在[南方|海边]的一个小村庄里。",
        "那是[美好的一天|一次很长的旅行],大家都[很累但是很高兴|想早点回家]。",
        "[山里|海边][下了很多雪|有大雾],所以火车[开得很慢|晚点了]。",
    ),
    "ja": (
        "[毎朝|日曜日には|冬になると]、[おじいさん|姉|先生]は[市場|川のそば|町]へ[行きます|歩いて行きます]。",
        "[子どもたち|近所の人たち]は[庭で遊びながら|家の前に座って]、[長い話をします|古い歌を聞きます]。",
        "[この橋|市役所]がなぜ[閉まっているのか|そんなに早く建てられたのか]、誰も知りません。",
        "[市長|住民の一人]は、[新しい学校|駅]が[来年|夏の前に]できると[言いました|説明しました]。",
        "[パン|新鮮な野菜|おいしいチーズ]を買いたい人は、[早く起きなければなりません|市場へ行くといいです]。",
        "[食事の後で|その後]、私たちは[コーヒー|お茶]を飲んで、[天気|仕事|休み]について話しました。",
        "[博物館|図書館]は[毎日|週末に]開いていて、[入場は無料です|学生は安く入れます]。",
        "この[料理|話]は、[南の方|海の近く]の小さな村に住んでいた祖母から教わりました。",
        "それは[すばらしい一日|長い旅]で、みんな[疲れていましたが幸せでした|家に帰りたがっていました]。",
        "[山|海岸]では[雪がたくさん降った|霧が深い]ので、電車が[ゆっくり走っています|遅れています]。",
    ),
}  # fmt: skip
"""Language (ISO 639-1) -> templates of sentences."""

TITLES: dict[str, tuple[str, ...]] = {
    "de": ("Nachrichten aus der Region", "Ein Tag auf dem Land", "Was diese Woche geschah"),
    "fr": ("Nouvelles de la région", "Une journée à la campagne", "Ce qui s'est passé cette semaine"),
    "es": ("Noticias de la región", "Un día en el campo", "Lo que pasó esta semana"),
    "it": ("Notizie dalla regione", "Una giornata in campagna", "Che cosa è successo questa settimana"),
    "pt": ("Notícias da região", "Um dia no campo", "O que aconteceu esta semana"),
    "nl": ("Nieuws uit de streek", "Een dag op het land", "Wat er deze week gebeurde"),
    "pl": ("Wiadomości z regionu", "Dzień na wsi", "Co się wydarzyło w tym tygodniu"),
    "ru": ("Новости региона", "День в деревне", "Что случилось на этой неделе"),
    "zh": ("地方新闻", "乡下的一天", "本周要闻"),
    "ja": ("地域のニュース", "田舎の一日", "今週の出来事"),
}

MENUS: dict[str, tuple[str, ...]] = {
    "en": ("Home", "News", "Articles", "About us", "Contact", "Archive"),
    "de": ("Startseite", "Nachrichten", "Artikel", "Über uns", "Kontakt", "Archiv"),
    "fr": ("Accueil", "Actualités", "Articles", "À propos", "Contact", "Archives"),
    "es": ("Inicio", "Noticias", "Artículos", "Quiénes somos", "Contacto", "Archivo"),
    "it": ("Home", "Notizie", "Articoli", "Chi siamo", "Contatti", "Archivio"),
    "pt": ("Início", "Notícias", "Artigos", "Sobre nós", "Contacto", "Arquivo"),
    "nl": ("Start", "Nieuws", "Artikelen", "Over ons", "Contact", "Archief"),
    "pl": ("Start", "Wiadomości", "Artykuły", "O nas", "Kontakt", "Archiwum"),
    "ru": ("Главная", "Новости", "Статьи", "О нас", "Контакты", "Архив"),
    "zh": ("首页", "新闻", "文章", "关于我们", "联系方式", "存档"),
    "ja": ("ホーム", "ニュース", "記事", "会社概要", "お問い合わせ", "アーカイブ"),
}
"""Language -> entries of a site's menu."""


def foreign_article(rng: Random, language: str) -> Article:
    """An article of 12 to 22 sentences in `language`."""
    grammar = GRAMMARS[language]
    lines: dict[str, None] = {}
    while len(lines) < min(rng.randint(12, 22), 2 * len(grammar)):
        for template in shuffled(rng, grammar):
            lines[render(rng, template)] = None
    texts = list(lines)[: rng.randint(12, 22)]
    joined = paragraphs(rng, texts, 3, 5)
    if language in ("zh", "ja"):
        joined = [paragraph.replace(" ", "").replace(",", "\uff0c") for paragraph in joined]
    return Article("foreign", pick(rng, TITLES[language]), tuple(joined))
