"""Concepts of science and technology for the explanation domains, explained at five reader levels.

Format of the bank, one block per concept: the name; two sentences for each level from 0 (small child) to
4 (specialist); two analogies after `~`. `elix.py` reads it.
"""

from __future__ import annotations

SCIENCE = """
photosynthesis
0 Plants eat sunshine and make their own yummy sugar!
0 The green leaves drink the light, just like you drink milk.
1 Green plants use sunlight to turn water and air into sugar they can use as food.
1 The green stuff in leaves, called chlorophyll, catches the sunlight.
2 Plants take in light, water and carbon dioxide, and give back sugar and oxygen.
2 Almost everything we eat started as sunlight stored by a plant.
3 Light reactions in the thylakoid membrane produce ATP and NADPH, which the Calvin cycle uses to fix carbon.
3 Chlorophyll absorption drives electron transport and builds a proton gradient across the membrane.
4 Photosystem II water oxidation and cyclic electron flow set the ATP to NADPH ratio under fluctuating light.
4 Assimilation is co-limited by RuBisCO carboxylation kinetics, mesophyll conductance and RuBP regeneration.
~ a kitchen that cooks with sunlight
~ a solar panel that fills a pantry

black holes
0 A black hole is a very, very hungry spot in space that gobbles up even light!
0 Nothing can climb back out once it falls in, not even a rocket!
1 A black hole is left over when a huge star runs out of fuel and collapses.
1 Its gravity is so strong that even light cannot escape from it.
2 A black hole packs the mass of a star into a space no larger than a city.
2 We notice one by how nearby stars and hot gas move around it.
3 In general relativity the event horizon of a static mass lies at the Schwarzschild radius.
3 Infalling matter forms an accretion disc whose viscous heating produces the observed X-ray spectrum.
4 Quasinormal ringdown spectra of Kerr remnants constrain deviations from the no-hair theorem.
4 Semiclassical entropy arguments and island prescriptions recover a unitary Page curve for the evaporation.
~ a drain in a bathtub that never lets water return
~ a waterfall too fast for any fish to swim up

vaccines
0 A vaccine shows your body a pretend germ so it can practise fighting!
0 Then your tiny body soldiers know how to chase the real germ away!
1 A vaccine contains a harmless piece of a germ that trains your immune system.
1 Later your body remembers the germ and makes antibodies quickly.
2 A vaccine lets the body rehearse for an infection without the danger of having it.
2 When enough people are protected, a disease finds it hard to spread.
3 Antigen presentation activates helper T cells, which support B cell maturation and memory formation.
3 The herd immunity threshold follows from the basic reproduction number as one minus one over R0.
4 Germinal centre persistence and lipid nanoparticle adjuvanticity shape the breadth of neutralising titres.
4 Correlates of protection remain confounded by imprinting and waning mucosal IgA.
~ a fire drill for the body
~ a wanted poster handed to the police

earthquakes
0 The ground is made of giant puzzle pieces, and sometimes they bump!
0 When they bump, everything goes shake, shake, shake!
1 The outer layer of the Earth is split into plates that slowly push against each other.
1 When the plates slip suddenly, waves travel out and shake the ground.
2 Earthquakes happen when pressure that built up for years along a crack is released within seconds.
2 Most of the damage comes from buildings that were not made to sway.
3 Elastic rebound along a fault releases stored strain energy as P, S and surface waves.
3 Moment magnitude is computed from rupture area, average slip and the shear modulus.
4 Rate-and-state friction with pore-pressure coupling governs nucleation and dynamic rupture.
4 Kinematic slip inversions remain non-unique given near-field geodetic coverage and Green's function error.
~ a stretched rubber band that finally snaps
~ a stuck drawer that jerks open

electric batteries
0 A battery is a little box that holds zaps for your toys!
0 When the zaps are all gone, we plug it in and it gets full again!
1 A battery stores energy in chemicals and lets it out as electricity.
1 Tiny particles called electrons flow from one end of the battery to the other.
2 Inside a battery a chemical reaction pushes electric charge through whatever you connect.
2 Charging simply runs that reaction backwards, and each round wears it a little.
3 The cell voltage equals the difference in electrode potentials, as given by the Nernst equation.
3 Lithium ions intercalate into graphite on charge while electrons pass through the external circuit.
4 Capacity fade is dominated by solid-electrolyte interphase growth and loss of cyclable lithium inventory.
4 Dendrite suppression in solid electrolytes hinges on critical current density and interfacial impedance.
~ a water tower that is pumped full and drained again
~ a spring that you wind up and let go

the immune system
0 Your body has tiny guards that catch nasty germs!
0 If you scrape your knee, the little guards rush over to help!
1 Your immune system is a team of white blood cells that hunts germs.
1 Fever is one way your body makes life hard for the germs.
2 The immune system tells what belongs to the body from what does not and attacks the rest.
2 It keeps a memory of past infections, so the second round is usually milder.
3 Innate receptors recognise conserved pathogen patterns, while adaptive ones arise by recombination.
3 Clonal selection expands lymphocytes whose receptors bind the antigen with sufficient affinity.
4 Peripheral tolerance depends on FOXP3 regulatory cells and checkpoint signalling through PD-1 and CTLA-4.
4 Trained immunity reflects epigenetic reprogramming of myeloid progenitors rather than clonal expansion.
~ a castle with guards and a list of known burglars
~ a neighbourhood watch that never sleeps

tides
0 The moon gives the sea a gentle tug, and the water goes up and down!
0 That is why the beach is big in the morning and small later!
1 The moon's gravity pulls on the oceans and makes the water rise on one side.
1 Most coasts see two high tides and two low tides every day.
2 The sea bulges towards the moon and on the far side too, and we turn through both bulges.
2 When sun and moon line up, the tides are larger than usual.
3 Tidal forcing is the gradient of the gravitational potential and falls off with the cube of distance.
3 Spring and neap cycles arise from the beat between lunar and solar semidiurnal constituents.
4 Basin resonance and bottom friction modify the M2 constituent through nonlinear shallow-water overtides.
4 Baroclinic conversion over rough topography supplies much of the abyssal mixing budget.
~ a blanket tugged from one corner
~ a child leaning on one side of a waterbed

computer programs
0 A computer does just what your little list of steps says!
0 If you tell it a silly step, it does a silly thing!
1 A program is a list of instructions that a computer follows one after another.
1 When you write code, you test it and fix the mistakes, which are called bugs.
2 A program breaks a job into small steps that a machine can repeat without getting tired.
2 Most software is built from parts that other people wrote before.
3 A compiler parses source code into a syntax tree and lowers it to machine instructions.
3 Asymptotic complexity describes how running time grows with the size of the input.
4 Static single assignment form enables sparse conditional constant propagation and loop transformations.
4 Memory-model reorderings make lock-free correctness arguments depend on acquire and release semantics.
~ a recipe followed by a very literal cook
~ a music score played by a machine

genes and inheritance
0 You got your eyes from Mummy and maybe your nose from Daddy!
0 Inside you is a teeny tiny book that says how to build you!
1 Genes are instructions in your cells that you get from both of your parents.
1 Some genes are dominant, so one copy is enough to show.
2 Every cell carries a full copy of the instructions that make us alike and different.
2 Most traits, such as height, come from many genes together with how we live.
3 Mendelian segregation predicts a three to one ratio for a cross of two heterozygotes.
3 Transcription yields messenger RNA, which ribosomes translate codon by codon into protein.
4 Polygenic scores inherit linkage disequilibrium structure and transfer poorly across ancestries.
4 Heritability estimates from related pairs conflate assortative mating with indirect genetic effects.
~ a cookbook copied from two grandmothers
~ a deck of cards shuffled by each generation

rainbows
0 A rainbow is sunshine that went splash through the rain drops!
0 Red, yellow, green and blue all come out to play!
1 Sunlight is a mix of colours, and raindrops split it apart.
1 You see a rainbow when the sun is behind you and rain is in front.
2 Each drop bends the light a little, and every colour bends by a different amount.
2 No two people see exactly the same rainbow, since it depends on where you stand.
3 Refraction, one internal reflection and dispersion concentrate rays near forty-two degrees.
3 The angle of minimum deviation follows from Snell's law and a wavelength-dependent refractive index.
4 Supernumerary arcs require Airy theory, since geometric optics diverges at the caustic.
4 Mie scattering with droplet size distributions sets the visibility of the interference pattern.
~ a crystal lamp that scatters colours on a wall
~ a crowd of tiny mirrors that each send back one colour

the internet
0 The internet is like invisible roads where messages go whoosh!
0 Your cartoon rides along the roads right to your screen!
1 The internet is a huge network that connects computers all over the world.
1 Messages are cut into small packets that travel separately and are put together again.
2 When you open a page, your device asks a faraway computer and gets the answer in pieces.
2 No single company owns it; many networks agree to pass traffic along.
3 IP handles addressing and routing, while TCP provides ordered delivery and congestion control.
3 Name servers resolve host names through a hierarchy of delegated zones.
4 BGP path-vector convergence and route leaks expose the weak trust model between autonomous systems.
4 Bufferbloat mitigation pairs active queue management with model-based congestion control such as BBR.
~ a postal service for tiny envelopes
~ a web of roads with many crossings

volcanoes
0 A volcano is a mountain with hot, hot goo in its tummy!
0 Sometimes it burps and the red goo comes out, boom!
1 Deep underground, rock melts into magma, and a volcano is where it comes out.
1 Once magma reaches the surface it is called lava, and it cools into new rock.
2 Gas dissolved in the molten rock decides whether an eruption is calm or violent.
2 Volcanic soil is rich, which is why people keep living near the danger.
3 Decompression melting beneath ridges and flux melting above subducting slabs generate most magma.
3 Silica content controls viscosity and hence whether the eruption is effusive or explosive.
4 Conduit models couple volatile exsolution, crystal nucleation kinetics and magma fragmentation thresholds.
4 Melt-inclusion barometry and diffusion chronometry constrain mush remobilisation before eruption.
~ a shaken bottle of fizzy drink
~ a pot of thick soup that bubbles over

satellite navigation
0 Little helpers in the sky tell the car which way to go!
0 They sing beep beep, and the phone knows where you are!
1 Satellites send signals, and your phone uses them to work out where you are.
1 It needs signals from at least four satellites to find your position.
2 Your phone measures how long each signal took and works out the distance to every satellite.
2 The clocks on board are so exact that an error of a millionth of a second would matter.
3 Pseudorange equations in three coordinates plus a clock bias are solved by least squares.
3 Satellite clocks are corrected for both special and general relativistic time shifts.
4 Carrier-phase ambiguity resolution with dual-frequency combinations removes first-order ionospheric delay.
4 Precise point positioning still suffers from tropospheric wet-delay and multipath residuals.
~ friends shouting from hilltops while you guess how far each one is
~ a treasure hunt with four measuring strings

antibiotics
0 This medicine chases the bad bugs out of your tummy!
0 You must take all of it, so no bad bug can hide!
1 Antibiotics are medicines that kill bacteria or stop them from growing.
1 They do not work on colds, because colds are caused by viruses.
2 An antibiotic attacks parts of a germ that our own cells do not have.
2 Using them too often lets the toughest germs survive and spread.
3 Beta-lactams inhibit cross-linking of peptidoglycan by binding the transpeptidase enzymes.
3 Resistance spreads horizontally through plasmids that carry beta-lactamase genes.
4 Time above minimum inhibitory concentration governs efficacy, unlike for peak-driven drugs.
4 Persister phenotypes and collateral sensitivity complicate the design of cycling regimens.
~ a key that jams only one kind of lock
~ a weedkiller that spares the grass

climate change
0 The Earth is wearing a blanket that is getting too warm!
0 The ice is melting, and the polar bears feel too hot!
1 Burning coal and oil adds gases to the air that trap heat from the sun.
1 As the planet warms, ice melts and the sea level rises.
2 The warming so far sounds small, yet it shifts rainfall, harvests and storms.
2 What we emit today stays in the air for a very long time.
3 Radiative forcing grows with the logarithm of carbon dioxide concentration.
3 Water vapour and ice-albedo feedbacks amplify the initial warming.
4 Equilibrium climate sensitivity remains bounded mainly by low-cloud feedback and pattern effects.
4 Carbon-cycle feedbacks and aerosol forcing dominate the spread in allowable cumulative emissions.
~ a greenhouse with the windows painted shut
~ a bathtub filling faster than it drains

sleep
0 When you sleep, your head tidies up all its toys!
0 Night-night time makes you big and strong!
1 While you sleep, your brain sorts memories and your body repairs itself.
1 Your brain goes through stages, and most dreams come in one of them.
2 Good sleep helps you learn, keeps your mood steady and protects your heart.
2 Light in the evening fools the brain into thinking that it is still day.
3 Sleep pressure builds with adenosine while the circadian pacemaker gates its timing.
3 Slow-wave and REM stages alternate in cycles of roughly ninety minutes.
4 Hippocampal sharp-wave ripples nested in spindles support consolidation during slow-wave sleep.
4 Glymphatic clearance estimates remain contentious given tracer and anaesthesia confounds.
~ a night crew that cleans the office
~ a librarian who sorts the returned books

airplanes and flight
0 The plane's wings push the air down, and up it goes, wheee!
0 Birds flap, but planes go zoom with big engines!
1 Wings are shaped so that air pushes the plane upwards as it moves fast.
1 Four forces act on a plane: lift, weight, thrust and drag.
2 A wing turns air downwards, and the air pushes the wing up in return.
2 Pilots care more about the angle of the wing than about the speed alone.
3 Circulation around the aerofoil gives lift per span through the Kutta-Joukowski theorem.
3 Stall occurs when an adverse pressure gradient separates the boundary layer.
4 Transonic buffet arises from shock and boundary-layer interaction near the drag-divergence Mach number.
4 Reynolds-averaged closures mispredict separation, which motivates wall-modelled large-eddy simulation.
~ a hand held flat out of a car window
~ a water ski skimming over a lake

artificial intelligence
0 We show the computer lots of kitty pictures until it shouts kitty!
0 The clever robot learns like you, by trying again and again!
1 A computer can learn from many examples instead of being told every rule.
1 It looks for patterns, such as shapes in photos or words in stories.
2 These systems make good guesses by finding patterns in huge piles of past data.
2 They can be confidently wrong, so a person should still check.
3 A neural network minimises a loss by stochastic gradient descent with backpropagation.
3 Regularisation and held-out data guard against overfitting the training distribution.
4 Scaling laws tie loss to compute and data, yet emergent capability claims depend on metric choice.
4 Implicit bias of gradient methods in overparameterised regimes resists uniform-convergence analysis.
~ a student who learns from a mountain of old exams
~ a parrot with a very large memory

the water cycle
0 Rain falls down, puddles dry up, and clouds drink them again!
0 Round and round the water goes, drip drop, drip drop!
1 The sun heats water so that it evaporates, and then it forms clouds.
1 When the drops in a cloud get heavy, they fall as rain or snow.
2 The same water keeps moving between sea, sky, rivers and ground.
2 Forests and soil slow the flow down and soften both floods and droughts.
3 The catchment balance equates precipitation with evapotranspiration, runoff and change in storage.
3 Saturation vapour pressure rises with temperature by the Clausius-Clapeyron relation.
4 Isotopic fractionation constrains moisture recycling and the transpired share of terrestrial fluxes.
4 Budyko-type closures fail where storage memory and groundwater convergence violate stationarity.
~ a fountain that uses its water again and again
~ a merry-go-round for water

magnets
0 Magnets give some metal things a big invisible hug!
0 Turn one around and they say no, go away!
1 Every magnet has a north pole and a south pole, and opposites attract.
1 Iron sticks to a magnet, but wood and plastic do not.
2 A magnet works because countless tiny magnets inside it point the same way.
2 The Earth itself acts as a weak magnet, which is why a compass works.
3 Exchange interaction aligns electron spins into domains below the Curie temperature.
3 A changing magnetic flux induces an electromotive force, as Faraday's law states.
4 Micromagnetic simulation balances exchange, anisotropy and demagnetising energies across domain walls.
4 Dzyaloshinskii-Moriya coupling stabilises skyrmions with topological charge in thin films.
~ a crowd of people all facing the same way
~ two dancers who either embrace or turn away
"""
