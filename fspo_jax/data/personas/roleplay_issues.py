"""Issues on which the personas of `roleplay` differ.

Bank format, one block per issue: its name; what to do with a modern (`+`) and with a traditional (`-`)
outlook; why it matters for the community (`u`) and for oneself (`m`); two lines of each.
"""

from __future__ import annotations

ISSUES = """
working from home
+ let people work from wherever they like
+ replace the office with video calls
- keep everyone together in the office
- stick to fixed hours at a proper desk
u a team only grows when its members help one another
u younger colleagues need older ones around them
m you get your own quiet hours back
m your own career moves faster that way

phones at the dinner table
+ make phones a normal part of the meal
+ share photos and videos while eating
- keep every phone away from the table
- eat together the way families always did
u the whole family shares one conversation
u everybody at the table deserves to be heard
m you decide alone how to spend your break
m your evening belongs to you

tablets in primary school
+ give each pupil a tablet from the first day
+ let software teach at a new pace
- teach with chalk, paper and handwriting
- return to the trusted reading books
u the class learns as one group and nobody is left behind
u strong pupils can lift up the weaker ones
m your own child gets ahead of the others
m you can pick what suits your own child best

paying without cash
+ switch to phone payments for everything
+ drop coins and notes for good
- hold on to cash as we always have
- keep paying with real coins and notes
u the old and the poor in our town must not be shut out
u small local shops share the benefit
m you keep full control over your own money
m you save yourself time at every till

eating meat
+ try the new plant-based dishes
+ replace the roast with lab-grown meat
- keep the Sunday roast on the table
- cook meat as our grandparents cooked it
u farmers and animals and neighbours all share one land
u we all carry the cost of what is eaten
m your own body feels better that way
m you alone decide what goes on your plate

big weddings
+ hold a small ceremony by video link
+ invent new rituals of your own
- marry with the full traditional feast
- follow the customs of both families
u a wedding joins two whole families and their friends
u the village celebrates together and grows closer
m you should enjoy your own special day
m you save your own money for a home

leaving the home town
+ move to a new city and start afresh
+ chase opportunities around the globe
- stay where your roots are
- keep the house of your parents
u the people who raised you still count on you
u a town lives only if its children give something back
m you find out who you are on your own
m your own income grows faster

caring for ageing parents
+ use sensors and care robots
+ arrange modern assisted living
- care for them at home as families always did
- let three generations share one house
u relatives and neighbours can share the load
u a family sticks together in hard years
m you protect your own strength and health
m you must keep your own life going

buses and trains in town
+ bring in driverless electric shuttles
+ replace the timetable with an app
- keep the old tram lines and their conductors
- preserve the regular timetable
u everyone in town reaches work and school
u people without a car belong to the town as well
m you arrive faster at your own door
m you travel whenever it suits you

shopping online
+ order everything over the internet
+ let drones deliver the groceries
- buy from the shops on the high street
- keep the weekly market alive
u local families live from those purchases
u the town square brings neighbours together
m you get the best price for yourself
m you save your own time for better things

learning a trade
+ pick one of the brand-new digital trades
+ study online instead of in a workshop
- learn a solid craft from a master
- follow the trade of your parents
u the community needs people it can rely on
u skilled hands serve the whole neighbourhood
m you earn your own living early
m your own talent decides, not other people

dating apps
+ let an app find your match
+ meet people by video first
- meet through friends and family
- court slowly, as people used to do
u friends and relatives should know and welcome a partner
u a couple is part of a wider circle
m you choose freely for yourself
m your own happiness comes first

the village school
+ merge it into a modern digital campus
+ open an online school instead
- keep the little school in the village
- preserve the old classrooms
u the school holds the whole village together
u parents and teachers all know each other
m your own child deserves the strongest marks
m you should send your child where you gain most

electric cars
+ switch to an electric car at once
+ scrap the petrol engine for good
- keep the trusty petrol car running
- repair the old engine and drive on
u clean air is a gift to the entire street
u we share the roads and the air with others
m your own running costs fall
m you drive what you enjoy

cooking at home
+ use meal kits and smart ovens
+ try fusion recipes from the web
- cook from grandmother's recipe book
- knead and stew by hand as ever
u a shared meal feeds friendships
u cooking for others holds a household together
m you eat exactly what you like
m you look after your own health

self-service tills
+ let machines handle the whole checkout
+ open shops without any staff
- keep a person at every till
- prefer the old counter with service
u cashiers are neighbours with families
u lonely customers get a kind word from others
m you are out of the shop sooner
m you need not wait for anybody else

summer holidays
+ fly somewhere completely new each year
+ try a trip planned by an algorithm
- return to the same lake every summer
- spend the weeks at the family cottage
u the whole family gathers and shares its stories
u local hosts and guests become friends
m you rest and recharge for yourself
m you collect adventures of your own

paper books
+ move all reading to a screen
+ swap shelves for audio streams
- keep real books on the shelf
- read printed pages as ever
u lending books brings neighbours together
u a public library belongs to all of us
m you read in your own way at your own pace
m your own concentration improves

renting or buying a home
+ try co-living and short leases
+ stay flexible and rent by the month
- buy a house and settle down
- own land as the family always has
u steady neighbours build a caring street
u homes should serve families in the whole town
m your own wealth grows
m you stay free to suit yourself

retirement
+ launch a second career online
+ reinvent yourself with new technology
- rest after a life of work
- keep to the customary retirement age
u the young need the help of their elders
u the community can use your time
m you earned this time for yourself
m you fulfil your own old dreams

street festivals
+ turn the fair into an electronic music night
+ stream the parade in virtual reality
- keep the parade and the brass band
- celebrate on the same day as ever
u the entire street meets and helps out
u newcomers are welcomed by their neighbours
m you enjoy a wild night of your own
m you may close your door and relax

keeping fit
+ follow a virtual coach and track all data
+ try the latest training fad
- walk and do honest chores
- join the old gymnastics club
u a team carries its weaker members along
u people who train together look after each other
m you become stronger than you were
m you set your own goals

seeing a doctor
+ consult by video and let software diagnose
+ share data with new health apps
- visit the family doctor in person
- trust long experience and a house call
u a practice cares for the whole district
u the sickest neighbours must come first
m you get your own appointment sooner
m your own body is your own business

growing food
+ build a smart greenhouse with sensors
+ grow salad under lamps indoors
- dig the vegetable patch by hand
- save seeds as the old gardeners did
u the harvest can be shared along the street
u a common garden makes strangers into friends
m you know exactly what you eat
m you save on your own groceries

dress codes at work
+ abolish dress codes and wear anything
+ welcome tattoos and trainers
- wear a proper suit and tie
- keep the uniform that clients know
u a common look shows respect for colleagues
u nobody on the team should feel left out
m you express your own personality
m your own comfort matters most

the four-day week
+ cut the week to four days now
+ rethink working time from scratch
- keep the five-day week
- hold on to the familiar working rhythm
u volunteers and carers gain time for others
u colleagues must be able to rely on each other
m you win a free day for yourself
m your own pay packet is what counts

raising bilingual children
+ mix languages freely and use apps
+ let children pick languages themselves
- pass on the mother tongue first
- keep the language of the ancestors
u grandparents and cousins stay close
u a language belongs to a whole community
m your own child gets better chances
m you do what feels natural to you

watching sport
+ follow matches in virtual reality
+ switch to electronic sports
- go to the stadium as ever
- support the club of your fathers
u fans sing together as one crowd
u the local club trains everybody's children
m you enjoy the game in your own armchair
m you pick the winner you fancy

giving presents
+ send digital vouchers
+ replace gifts with shared playlists
- wrap real presents by hand
- give heirlooms, as custom demands
u generous giving ties people together
u those with little should be remembered by all
m you should not overspend on others
m you treat yourself as well

building in the old town
+ build bold glass towers
+ replace old houses with smart homes
- restore the historic facades
- build in the old local style
u affordable homes keep families in the quarter
u a square belongs to everyone who crosses it
m your own property gains value
m you want a view that pleases you

smart devices at home
+ connect every lamp and lock
+ let an assistant run the house
- keep plain switches and keys
- do without listening machines
u guests and neighbours deserve privacy as well
u the household can look out for its weakest member
m you gain comfort for yourself
m you remain master of your own home

volunteering
+ help through online platforms
+ invent new projects with an app
- serve in the fire brigade or the parish
- join the association your parents joined
u the whole town depends on helping hands
u nobody in need should be left alone
m you learn skills for your own career
m you feel better about yourself

changing careers at forty
+ leap into a brand-new field
+ retrain online for jobs of the future
- stay loyal to the learned profession
- build on decades of experience
u a family and a team depend on your choice
u your skills can serve many other people
m you owe yourself a fresh start
m your own satisfaction is what counts

music lessons
+ learn from an app and make beats
+ compose with artificial intelligence
- practise scales with a strict teacher
- learn the old folk songs
u an orchestra teaches children to listen to others
u singing together unites a village
m you express your own feelings
m you play just for yourself

following the news
+ read live feeds and new podcasts
+ let an algorithm choose the stories
- read the morning newspaper
- watch the evening bulletin as ever
u a town needs facts that all share
u informed neighbours can help each other
m you save your own nerves
m you pick what is useful to you

keeping pets
+ get a robot pet
+ use cameras and automatic feeders
- keep a dog as families always did
- let cats hunt in the barn
u animals bring neighbours into conversation
u the whole family learns to care for others
m you get company for yourself
m you keep your own freedom

lawns and hedges
+ turn the lawn into a wild meadow
+ let a robot mow at night
- trim the hedge and mow on Saturdays
- keep the roses grandfather planted
u the street looks after its common green
u bees and neighbours both benefit
m it is your own land and your own rest
m you save yourself the effort

household chores
+ hand the chores to robots and apps
+ reshuffle all roles every week
- keep clear and customary duties
- clean the house every Saturday as ever
u everybody in the home pulls together
u fair sharing keeps the family close
m you keep your own evenings free
m you only clean up after yourself
"""
