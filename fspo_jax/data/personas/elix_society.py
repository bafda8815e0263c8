"""Concepts of society, economy and arts for the explanation domains, in the format of `elix_science.py`."""

from __future__ import annotations

SOCIETY = """
inflation
0 Your coin could buy two lollies before, and now only one!
0 Oh no, the toys in the shop cost more coins each year!
1 Inflation means that prices go up, so the same pocket money buys less.
1 In school you can compare what an ice cream cost before and what it costs now.
2 When prices rise faster than wages, families feel poorer although nothing else changed.
2 A little of it is normal; a lot of it makes planning very hard.
3 In the quantity equation, money growth beyond real output growth raises the price level.
3 An expectations-augmented Phillips curve links unexpected inflation to the output gap.
4 Identification of the New Keynesian Phillips curve slope suffers from weak instruments.
4 State-dependent pricing and strategic complementarities govern the pass-through of marginal cost shocks.
~ a ruler whose centimetres keep shrinking
~ a queue in which everyone stands on tiptoe

democracy
0 Everybody gets to pick, and the most hands win!
0 It is like when the class chooses a game together!
1 In a democracy the people vote for the leaders who make the laws.
1 If voters are unhappy, they can choose someone else next time.
2 Democracy means that those in power can be replaced peacefully by ordinary people.
2 Courts, newspapers and clear rules matter as much as election day.
3 Electoral rules shape party systems, as in Duverger's proposition on plurality voting.
3 The median voter theorem assumes single-peaked preferences on one dimension.
4 Regression-discontinuity evidence on incumbency is sensitive to sorting and bandwidth near the threshold.
4 Aggregation paradoxes generalise Arrow's result to judgement sets with logically linked propositions.
~ a ship whose crew elects the captain
~ a family that votes on where to go on holiday

supply and demand
0 When many kids want the one red ball, it gets very special!
0 If there are lots of balls, nobody minds sharing!
1 When many people want something and there is not much of it, the price goes up.
1 When shops have too much of something, they lower the price to sell it.
2 Prices act as signals that tell makers what to make and buyers when to wait.
2 A bad harvest makes bread dearer although nobody planned it.
3 Equilibrium lies where the quantity supplied equals the quantity demanded at one price.
3 Elasticities determine how the burden of a tax falls on buyers and sellers.
4 Simultaneity bias requires excluded cost shifters to identify demand elasticities.
4 Random-coefficient logit systems recover substitution patterns under Bertrand-Nash conduct.
~ a seesaw that settles when both sides agree
~ an auction that goes on all day

the stock market
0 Grown-ups can buy a tiny, tiny piece of a shop!
0 If the shop sells lots of ice cream, the piece is worth more!
1 A share is a small part of a company that people can buy and sell.
1 If a company does well, its shares usually become worth more.
2 Prices move with what people expect about the future rather than with today's news alone.
2 Spreading money over many firms lowers the risk of losing it all.
3 The capital asset pricing model relates expected return to covariance with the market portfolio.
3 Discounted cash flow valuation sums expected payments at a risk-adjusted rate.
4 Limits to arbitrage and intermediary balance sheets explain persistent violations of covered parity.
4 Multiple-testing corrections eliminate most of the published cross-sectional anomalies.
~ a market stall where people trade slices of farms
~ a weather forecast that people can bet on

world trade
0 We give them apples, and they give us bananas, yum!
0 Big ships carry toys over the wide, wide sea!
1 Countries sell what they make well and buy what others make better.
1 Ships and trains carry goods such as bananas and phones around the world.
2 Trade lets each country do what it does best and buy the rest from abroad.
2 Shoppers gain from lower prices, while some workers lose their jobs.
3 Comparative advantage rests on relative opportunity costs rather than on absolute productivity.
3 The Stolper-Samuelson theorem predicts gains for the factor used intensively in exports.
4 Structural gravity with multilateral resistance recovers welfare gains from a trade elasticity.
4 Shift-share exposure designs need exogenous shocks or shares for credible labour-market estimates.
~ two neighbours who swap eggs for firewood
~ a potluck to which everyone brings a best dish

human rights
0 Every single child should be safe and have food and a bed!
0 Nobody is allowed to be mean to you just for being you!
1 Human rights are basic freedoms that belong to every person in the world.
1 Many countries signed a list of these rights in 1948.
2 These rights protect people from those who are stronger, including their own state.
2 They are only worth something when courts can enforce them.
3 Treaties distinguish absolute rights from qualified rights that permit proportionate limits.
3 Positive obligations require states to protect individuals from private violations.
4 Margin-of-appreciation doctrine trades subsidiarity against the uniformity of Strasbourg jurisprudence.
4 Extraterritorial jurisdiction turns on contested readings of effective control and functional tests.
~ a floor below which nobody may fall
~ the rules of a game that bind the referee too

poetry
0 A poem is words that sing and go hop, hop, hop!
0 Cat and hat, moon and spoon, hear how they match!
1 A poem uses rhythm and sometimes rhyme to share a feeling or a picture.
1 Poets often repeat sounds to make their words easy to remember.
2 A poem says in a few lines what would take pages to explain.
2 You can enjoy one by reading it aloud and noticing where you pause.
3 Metre sets a pattern of stress against which the spoken line varies.
3 Close reading attends to enjambment, imagery and the position of the speaker.
4 Historical poetics contests lyricization, the retrospective reading of verse genres as expressive utterance.
4 Quantitative scansion and prosodic phonology disagree on the status of extrametrical positions.
~ a photograph made of words
~ a song without a band

the Roman Empire
0 Long, long ago lived people with swords and big, big roads!
0 They had a strong leader, and he wore a shiny crown of leaves!
1 The Romans ruled lands from Britain to Egypt and built roads and aqueducts.
1 Emperors ruled Rome after the time of Julius Caesar.
2 Rome held together for centuries by law, roads, taxes and a well-trained army.
2 Its fall was a slow change in the west rather than one single disaster.
3 Augustus kept republican offices while concentrating military and fiscal authority.
3 Third-century crises produced debasement of the coinage and the reforms of Diocletian.
4 Ceramic distribution and lead-isotope proxies revise the chronology of late antique economic contraction.
4 Prosopographical evidence undermines a simple model of senatorial decline under the tetrarchy.
~ a giant company with branches in every town
~ a patchwork quilt sewn with roads

memory and learning
0 Your head has a secret box where it keeps fun days!
0 Do it again and again, and it stays in the box!
1 Your brain stores what you repeat, so practice makes it easier to remember.
1 Short-term memory holds only a few things at the same time.
2 We remember better when we space our practice out and test ourselves.
2 Every time we recall a day, we rebuild it and may change it a little.
3 Encoding specificity predicts better recall when cues match the original context.
3 Working-memory capacity limits are estimated from span and change-detection tasks.
4 Retrieval-induced forgetting and prediction-error accounts diverge on inhibition in competitive recall.
4 Complementary learning systems predict interleaving benefits that hinge on representational overlap.
~ a path in the grass that deepens with every walk
~ a library whose books are rewritten on each loan

taxes
0 Everyone puts a coin in the big jar, and the jar buys a playground!
0 The jar pays for the fire truck, nee-naw nee-naw!
1 Taxes are money that people pay so that there are schools, roads and hospitals.
1 People who earn more usually pay more tax.
2 A tax raises money, but it also changes what people do.
2 Who sends the money in is not always the person who really bears the cost.
3 Deadweight loss grows roughly with the square of the tax rate.
3 Progressivity is assessed by comparing average rates along the income distribution.
4 Optimal top rates depend on the Pareto tail and the elasticity of taxable income.
4 Bunching estimators at kinks rely on untestable smoothness of the counterfactual density.
~ a club fee that pays for the shared pool
~ a pot of soup to which everyone adds something

language change
0 Your granny says funny old words, and you say new ones!
0 Words grow up and change, just like you do!
1 Languages change over time, and new words appear while old ones disappear.
1 English borrowed many words from French and Latin.
2 Every generation speaks a little differently, and small changes add up to new languages.
2 What counts as a mistake today may be correct in a hundred years.
3 Regular sound change applies without exception within its phonological environment.
3 Grammaticalisation turns lexical items into function words along typical paths.
4 Bayesian phylogenies with relaxed clocks remain sensitive to undetected borrowing and cognate coding.
4 Variationist data show transmission incrementing change, whereas diffusion degrades structural constraints.
~ a river that slowly moves its bed
~ a whisper passed down a very long line

the choices of museums
0 A museum is a big house full of pretty pictures!
0 Some grown-ups choose which picture hangs on the wall!
1 People called curators decide which works a museum shows.
1 A museum keeps many more pieces in store than it can put on show.
2 What hangs on the wall reflects money, taste and the people who were asked.
2 A gift from a rich donor can shape a collection for decades.
3 Canon formation reflects institutional gatekeeping and the field of cultural production.
3 Provenance research documents ownership gaps, in particular for the years 1933 to 1945.
4 Decolonial curatorship contests universalist display and reopens restitution under soft-law principles.
4 Network analyses of exhibition histories show early prestige lock-in and path-dependent valuation.
~ a playlist made by a few picky friends
~ a garden in which someone decides what counts as a weed

money and banks
0 The bank is a safe piggy for lots and lots of people!
0 You give it coins, and it keeps them warm for you!
1 Banks keep people's money safe and lend part of it to others.
1 When you borrow from a bank, you pay back extra, which is called interest.
2 Banks lend out most of what we deposit, so they live on trust.
2 A loan adds new money to the economy until it is paid back.
3 Fractional reserves make deposit contracts runnable, as in the Diamond-Dybvig model.
3 Central banks steer short rates through reserve remuneration and open-market operations.
4 Liquidity regulation interacts with intraday reserve demand and the effective lower bound on spreads.
4 Global games select a unique run equilibrium through dispersed private signals on fundamentals.
~ a cloakroom that lends out coats until evening
~ a well that works while not everybody draws at once

the growth of cities
0 Lots of families want to live close to the park and the shops!
0 So the town gets bigger and bigger, up to the sky!
1 People move to cities because there are more jobs and more schools.
1 When a city grows, it needs more houses, buses and water pipes.
2 Cities grow because people earn more and learn more when they are close together.
2 Where building is hard, growth shows up as higher rents.
3 Agglomeration economies arise from sharing, matching and learning.
3 The monocentric model trades commuting cost against land rent along the distance to the centre.
4 Quantitative spatial models calibrate amenity residuals that absorb measurement error in floor space.
4 Sorting on unobserved ability biases the urban wage premium unless movers are tracked.
~ a campfire that draws more and more people
~ a party that gets better when more friends arrive

advertising
0 A happy song says buy me, buy me, and then you want one too!
0 The shop shows you a shiny toy so that you shout gimme!
1 Adverts try to make you want something by using colours, music and famous people.
1 Companies pay websites to show their adverts to you.
2 Advertising works mostly by making a name feel familiar when we choose.
2 Free services are paid for with our attention and our data.
3 Carry-over effects are modelled with adstock and diminishing returns to exposure.
3 The persuasive and the informative view give opposite predictions for price elasticity.
4 Ghost-ad experiments show that observational lift estimates suffer from activity bias.
4 Auction pacing and budget constraints break incentive compatibility of second-price formats.
~ a friend who keeps repeating one name
~ a fishing lure for attention

friendship
0 A friend shares her toys and hugs you when you cry!
0 Friends play together and say sorry after a fight!
1 Friends are people who trust each other and like to spend time together.
1 Making friends gets easier when you do the same club or sport.
2 Friendship grows out of time spent together and small favours returned.
2 Losing touch is normal, and most people are glad when we call again.
3 Homophily and propinquity account for much of the variation in tie formation.
3 Social exchange theory models commitment by rewards, costs and alternatives.
4 Stochastic actor-oriented models separate selection from influence under strong Markov assumptions.
4 Layered network sizes near Dunbar's ratios are sensitive to truncation in name generators.
~ a garden that needs regular watering
~ a bridge built one plank at a time

courts and trials
0 When two people fight, a wise grown-up in a black robe listens!
0 She hears both sides and then says what is fair!
1 In court, a judge listens to both sides and decides what the law says.
1 A person counts as innocent until the court has proof of guilt.
2 A trial is meant to test stories against evidence, with rules that keep it fair.
2 Most cases never reach a courtroom, since both sides settle before.
3 Burden and standard of proof differ between civil and criminal proceedings.
3 Precedent binds lower courts where the material facts cannot be distinguished.
4 Hindsight bias in negligence rulings challenges the calibration of reasonable-care standards.
4 Priest-Klein selection implies that win rates reveal little about the underlying legal standard.
~ a referee who watches the replay
~ a set of scales held by a stranger

music and harmony
0 Some notes hold hands and sound happy together!
0 Other notes go ouch, and then they make up again!
1 A chord is made of several notes that are played at the same time.
1 Major chords often sound happy, and minor chords often sound sad.
2 Music plays with what we expect, building tension and then letting it go.
2 Much of what sounds right to us depends on the songs we grew up with.
3 Functional harmony moves from tonic through predominant to dominant and back.
3 Consonance correlates with simple frequency ratios and the lack of beating partials.
4 Neo-Riemannian transformations model chromatic voice leading outside of functional syntax.
4 Corpus studies of schemata question Schenkerian prolongation as a listening grammar.
~ a conversation that ends with an agreement
~ a walk that always leads back home

myths and legends
0 Once upon a time people told stories of dragons and giants!
0 The stories told why thunder goes boom in the sky!
1 Myths are old stories that people told to explain nature and the gods.
1 Many countries have a story about a great flood.
2 Myths give a community a shared past and a sense of right and wrong.
2 The same tale returns in new clothes, from epics to films.
3 Structuralist analysis reads myth as mediation between binary oppositions.
3 Oral-formulaic theory explains epic diction by composition in performance.
4 Phylogenetic treatment of folktale types assumes vertical transmission that areal diffusion violates.
4 Ritualist readings confuse etiological narrative with attested cult practice in the epigraphic record.
~ a family story that grows with each telling
~ a map drawn before anyone had travelled

fair voting rules
0 If we count hands, the most hands choose the game!
0 But what if three games get the same hands, uh-oh!
1 There are different ways to count votes, and they can give different winners.
1 In some elections people rank their choices from first to last.
2 No way of counting votes is perfect; each one can be unfair in some case.
2 Ranking lets people support a favourite without wasting their vote.
3 A Condorcet winner beats each rival in pairwise majority contests but need not exist.
3 Gibbard and Satterthwaite show that non-dictatorial rules with three options can be manipulated.
4 Smoothed analysis bounds the frequency of manipulable profiles under impartial-culture perturbation.
4 Justified-representation axioms separate proportional approval voting from sequential Phragmen rules.
~ slicing one cake with different knives
~ judging a contest with several scoring sheets
"""
